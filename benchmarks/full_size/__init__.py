"""Stable Diffusion at its true size with random weights: nothing is downloaded, nothing is trained.

Only mechanics, memory and time can be learned on it. `python -m full_size` runs mitigations and
attacks on it.
"""
