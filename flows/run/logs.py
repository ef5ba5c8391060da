"""Where the program's own log goes."""

from __future__ import annotations

import logging

from flows.terminal import echo
from flows.visible_text import visible


def to_stderr() -> None:
    """Each step is logged to standard error, a message on one line, above what is drawn on a terminal."""
    handler = _Lines()
    handler.setFormatter(_OneLine("%(asctime)s %(levelname)-7s %(name)s %(message)s"))
    logging.basicConfig(handlers=[handler])
    for package in ("flows", "stores"):
        logging.getLogger(package).setLevel(logging.INFO)


class _Lines(logging.Handler):
    """Writes to what standard error is now, which a display takes over while it draws."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            echo(*self.format(record).split("\n"), err=True)
        except Exception:  # noqa: BLE001 - as every handler of logging does: a message must not end the work
            self.handleError(record)


class _OneLine(logging.Formatter):
    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        return visible(super().formatMessage(record))
