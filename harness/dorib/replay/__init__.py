"""Published rows held against what a model does: verified from their witnesses, or run again."""
