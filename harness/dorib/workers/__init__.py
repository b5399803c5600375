"""A run by several workers: its tasks, who does which, and Ray, which starts them."""
