"""Artefacts on disk, and the keys that name everything they depend on."""
