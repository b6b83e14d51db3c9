"""What the runtime is made of; names no vendor."""
