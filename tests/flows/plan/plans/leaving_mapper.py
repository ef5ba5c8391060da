"""A mapper's file that is a script."""

raise SystemExit("bye")
