"""The state of a plan: what its runs know of each other."""
