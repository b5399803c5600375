"""What a run will take, told before it: here no verb is run, and nothing is stored but speeds."""
