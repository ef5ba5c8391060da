"""How fast a store may be used, and when to try again."""
