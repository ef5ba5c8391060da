"""Where the program's own log goes."""

from __future__ import annotations

import logging

from flows.visible_text import visible


def to_stderr() -> None:
    """Each step is logged to standard error, its message on one line."""
    handler = logging.StreamHandler()
    handler.setFormatter(_OneLine("%(asctime)s %(levelname)-7s %(name)s %(message)s"))
    logging.basicConfig(handlers=[handler])
    for package in ("flows", "stores"):
        logging.getLogger(package).setLevel(logging.INFO)


class _OneLine(logging.Formatter):
    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        return visible(super().formatMessage(record))
