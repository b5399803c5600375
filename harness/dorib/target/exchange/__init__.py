"""Weights in the forms in which others write and read them."""
