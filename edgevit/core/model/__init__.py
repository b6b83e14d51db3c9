"""What a model file says: its spec, its head, its test vector, its graph."""
