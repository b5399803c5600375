"""Where is memorization? A model's parts are knocked out one by one, and at some timesteps only.

What may live here: which layers are knocked out and how, what is measured then, and the figure.
"""
