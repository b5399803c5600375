"""Whether an entry agrees with itself and with the others of its leaderboard, and why not."""
