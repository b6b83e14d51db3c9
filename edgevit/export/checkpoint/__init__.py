"""Read checkpoints: weights, without running what pickle would, and class names."""
