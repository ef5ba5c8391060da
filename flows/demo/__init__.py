"""The demo: local servers, their data, and a writer that keeps changing it."""
