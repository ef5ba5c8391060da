"""The scripts that a user would write: short, with the clients' own batching, and nothing that checks."""
