"""What is told before the work is done: a plan, how far a run has come, how long it will take."""
