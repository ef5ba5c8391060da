"""The formats of a state, each a revision of Alembic that leads to it from the one before (CONTRIBUTING.md)."""
