"""The comparison of what the source says now with what the target holds."""
