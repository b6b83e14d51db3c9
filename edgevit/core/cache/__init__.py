"""What can be made again: files written whole, digests, locks, compiled models."""
