"""The one write path: read, map, write, record."""
