"""What a plugin author reads: methods and their hooks, parameters, edits, triggers, seeds, ledger.

A module lives here if its names stand in a plugin's signatures. It imports nothing above `store`:
what it says of target models and suites are interfaces, which `target` and `suites` implement.
"""
