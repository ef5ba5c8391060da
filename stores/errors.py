"""Every error that crosses a store's boundary, by who must act.

OfframpError
    PlanError        the plan or the surroundings are wrong; nothing has been written
    TransientError   the same call may succeed later; the run can be resumed
    PermanentError   this route cannot go on; a person must act
        LeaseLost    another run took over; this one stopped without writing
        OverBudget   more documents were rejected than the plan allows; what was done is on record
A document that cannot be mapped or written is no exception here but a reject (see `mappers.contract.MappingError`).
"""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from urllib.parse import urlsplit, urlunsplit

from stores.masking import masked
from stores.urls import hosts_of


class OfframpError(Exception):
    """An error with a catalogue code and a text for the person who must act."""

    ran: tuple[float, float] | None = None
    """When the job that ended with it began and ended, in seconds since 1970; None where no job measured it."""

    def __init__(self, code: str, message: str, details: Sequence[str] = ()) -> None:
        """Keep the catalogue code, such as ``E-DDB-KEYS``, beside the message and its details; all survive pickling.

        A detail is a line of its own below the message, such as a fault of a plan. Neither has a secret of the plan.
        """
        message, details = masked(message), tuple(map(masked, details))
        super().__init__(code, message, *([details] if details else []))
        self.code = code
        self.message = "\n  ".join([message, *details])
        self.lines = [f"{code} {message}", *(f"  {detail}" for detail in details)]
        """The error as lines for a terminal."""

    def __str__(self) -> str:
        return f"{self.code} {self.message}"


class PlanError(OfframpError):
    """The plan, or what it points at, cannot be served; nothing has been written."""


class TransientError(OfframpError):
    """The store could not answer now; the same call may succeed later."""


class PermanentError(OfframpError):
    """The store refused for good: a person must act before this route can go on."""


class LeaseLost(PermanentError):
    """Another run holds the route now; this one stopped writing."""


class OverBudget(PermanentError):
    """More documents of the route were rejected than its plan allows; it stopped at a checkpoint."""


def redacted(url: str) -> str:
    """Return the URL without user name, password and query, fit for a log or a report."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, hosts_of(url), parts.path, "", ""))


def origin(error: BaseException) -> str:
    """Return an error's kind and the line it came from, without its text, which may hold values of documents."""
    frames = traceback.extract_tb(error.__traceback__)
    frame = next((frame for frame in reversed(frames) if not frame.filename.startswith("<frozen ")), frames[-1])
    reason = f" ({error.strerror})" if isinstance(error, OSError) and error.strerror else ""
    return f"{type(error).__name__}{reason} at {frame.filename.rpartition('/')[2]} line {frame.lineno}"
