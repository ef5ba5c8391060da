"""The suite of the page runs where the page puts it: tests/plugins/test_plugin_pages.py installs it as a stranger."""

collect_ignore = ["test_sqlite.py"]
