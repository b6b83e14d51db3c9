"""Which backend runs a model, with what settings, and how it is called."""
