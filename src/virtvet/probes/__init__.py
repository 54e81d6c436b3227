"""What answers mean: pure functions from a snapshot to readings, one module per concern."""
