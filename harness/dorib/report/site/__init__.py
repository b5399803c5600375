"""Web pages of published leaderboards, or of a run's folder, made from the entries alone.

Here live reading and checking them, the pages and their figure; nothing that a rank depends on.
"""
