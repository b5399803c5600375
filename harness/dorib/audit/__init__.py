"""Audits: are these pictures still in this model?

Here lives what turns a user's pictures, captions and model into a suite, and a run on it into an
answer for each picture. It scores nothing itself.
"""
