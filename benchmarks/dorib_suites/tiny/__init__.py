"""The embedded suite `tiny`: a small text-to-image model that memorized real photographs.

`suite/` is what ships; the other modules are the recipe that made it.
"""
