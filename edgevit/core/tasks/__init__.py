"""A graph's outputs become a result: one module for each task, and one table of them."""
