"""The four verbs that compute (mitigate, attack, generate, measure), and what they share."""
