"""The order of work of one command over the chosen routes of a plan."""
