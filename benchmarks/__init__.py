"""What the program costs: CPU, time and memory of real runs between a source and targets that do no work."""
