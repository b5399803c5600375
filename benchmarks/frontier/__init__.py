"""The frontier: what fine-tuning costs of utility, against how far it holds under attack.

What may live here: reading the points off a board, and their figure.
"""
