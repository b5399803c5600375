"""Small semantic mutants of the program, and a runner that tells which of them the tests kill.

`make mutants` runs it, outside CI: each mutant takes one run of the test files named for it. The
tables lie in `tables`, one file a subject; `tests/mutants/README.md` says how to add one.
"""
