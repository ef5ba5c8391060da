"""The plan file: its keys, how it is read, and what is wrong with it."""
