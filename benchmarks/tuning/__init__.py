"""Tuning: each mitigation at the points of its grid on a suite's dev split, and which one is taken.

What may live here: the grids with their sources, running and reading their points, the rule, and
what is written of it: numbers, a page, the preset.
"""
