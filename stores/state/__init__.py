"""The state of a plan: what its runs and their workers leave on record for each other."""
