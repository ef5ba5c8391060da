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
INTERRUPTED: Final = 130
"""128 + SIGINT."""

OF_VERDICT: Mapping[str, int] = {"clean": CLEAN, "rejects": NOT_CLEAN, "mismatches": NOT_CLEAN, "failed": FAILED}
"""The exit code of each verdict of a report."""


def of_error(error: OfframpError) -> int:
    """Return the exit code of a command that ends with this error."""
    return REFUSED if isinstance(error, PlanError) else FAILED


def of_outcomes(*, failed: bool, left: bool) -> int:
    """Return the exit code of a repair or retry: whether a route failed, and whether anything is left to do."""
    return FAILED if failed else NOT_CLEAN if left else CLEAN
