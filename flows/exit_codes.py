"""The exit codes of every command; a signal ends a command with 128 and its number, as shells expect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from stores.errors import OfframpError, PlanError

CLEAN: Final = 0
NOT_CLEAN: Final = 1
"""The command finished, with rejects, mismatches or losses that the plan does not accept."""
REFUSED: Final = 2
"""The plan or the usage is wrong; nothing was written."""
FAILED: Final = 3
"""A store failed, or another run is at work; the same command resumes."""
STOPPED: Final = 4
"""A route has more rejects than its plan allows, so it stopped at a checkpoint; the same command stops again."""
INTERRUPTED: Final = 130
"""128 + SIGINT."""

OF_VERDICT: Mapping[str, int] = {
    "clean": CLEAN,
    "pending": CLEAN,
    "rejects": NOT_CLEAN,
    "mismatches": NOT_CLEAN,
    "stopped": STOPPED,
    "failed": FAILED,
}
"""The exit code of each verdict of a report. The code of a signal goes before it.

A route that is pending is not clean: its code is 0 so that `backfill --verify none` lets a following sync begin.
"""


def of_error(error: OfframpError) -> int:
    """Return the exit code of a command that ends with this error."""
    return REFUSED if isinstance(error, PlanError) else FAILED


def of_outcomes(*, failed: bool, left: bool) -> int:
    """Return the exit code of a repair or retry: whether a route failed, and whether anything is left to do."""
    return FAILED if failed else NOT_CLEAN if left else CLEAN
