"""What a run has made, in the forms that other programs load."""
