"""The suites that dorib ships: their data, their weights and the recipe that made them."""
