"""What a run has made, edits, triggers and tables, in the forms that other programs load."""
