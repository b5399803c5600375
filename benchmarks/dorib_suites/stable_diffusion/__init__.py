"""The suites on Stable Diffusion: manifests alone; `dorib fetch` brings what they name.

What may live here: one folder a suite, holding its suite.yaml.
"""
