"""Bad plugins, each with the reaction that is expected of the harness.

One plugin module a kind; every double is a class with `expected`: a part of the reason that its
own row must give, None where it must be let through.
"""
