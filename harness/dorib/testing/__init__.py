"""What a plugin's author tests with: random suites, pytest fixtures, and the conformance checks.

Everything here is small enough for a CPU: pipelines in miniature of the true architecture, with
random weights. `dorib check` runs the same checks from the command line.
"""
