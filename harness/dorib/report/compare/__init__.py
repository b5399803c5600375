"""Two results held against each other, sample by sample.

Here live what can be named as one side, what its samples did, the comparison, and its pictures.
"""
