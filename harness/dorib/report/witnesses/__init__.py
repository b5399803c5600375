"""Witnesses: edits, triggers and values published beside entries, that rows are replayed from."""
