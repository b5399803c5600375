"""Locality: do the ways to trigger one memorized image share a place in the model?

What may live here: how `dorib locality` gathers triggers, activations and picks, the statistics on
them, and the report, figures and page that it writes. Source of the three questions: Kowalczuk et
al., "Finding Dori", arXiv 2507.16880.
"""
