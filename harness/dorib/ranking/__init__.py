"""From records to outcomes, statistics, entries and leaderboard: pure functions, no torch."""
