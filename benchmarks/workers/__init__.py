"""A run by several workers: its speed-up, measured; many more workers, simulated."""
