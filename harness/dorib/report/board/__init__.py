"""A run's board as it grows: cells kept in the store, what is made from them, and when."""
