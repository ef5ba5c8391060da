"""Where the program's own log goes."""

from __future__ import annotations

import logging
import sys


def to_stderr() -> None:
    """Each step is logged to standard error."""
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(levelname)-7s %(name)s %(message)s")
    for package in ("flows", "stores"):
        logging.getLogger(package).setLevel(logging.INFO)
