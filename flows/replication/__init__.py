"""Sync: what changed in the source is copied again."""
