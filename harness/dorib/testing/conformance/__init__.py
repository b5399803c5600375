"""What `dorib check` looks at: whether a method keeps the rules that its numbers rest on.

Each check names the rule of `docs/plugins.md` that a method breaks, and the mend. The checks run
the method as a run would, through the verbs, on random suites in miniature.
"""
