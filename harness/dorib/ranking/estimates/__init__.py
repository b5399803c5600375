"""Estimates with a name of their own: survival curves (work to break), AUC (probes)."""
