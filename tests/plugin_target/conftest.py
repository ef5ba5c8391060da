"""The suite of the page runs where the page puts it: tests/test_plugin_pages.py installs it as a stranger would."""

collect_ignore = ["test_sqlite.py"]
