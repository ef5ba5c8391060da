"""What a task does wherever it runs: plain values in, the plan loaded anew, stopped by way of the state.

Plain functions: Prefect sends a task to another process with what its body names, and a lock or an event cannot go
along.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from flows.books import Level
from flows.jobs import CopyJob, LoadJob, Span, Verified, VerifyJob, copy_job, load_job, opened_state, verify_job
from flows.plan import load
from mappers.expiry import IndexExpires
from stores.retrying import STOPPING
from stores.state import Lease, State

_LOOK_EVERY_S = 1.0


def copy(
    plan: str, route: str, number: int, owner: str, fence: int, id_kind: str, expires: IndexExpires | None
) -> Span:
    """The partition is copied from its last checkpoint on; returns when that was."""
    loaded = load(Path(plan))
    job = CopyJob(route, number, Lease(loaded.name, route, owner, fence), id_kind, expires)
    with opened_state(loaded) as state:
        return copy_job(loaded, job, stopping=_asked(state, route))


def load_staged(plan: str, route: str, owner: str, fence: int) -> Span:
    """The route's target has loaded what was staged; returns when that was."""
    loaded = load(Path(plan))
    with opened_state(loaded) as state:
        return load_job(loaded, LoadJob(route, Lease(loaded.name, route, owner, fence)), stopping=_asked(state, route))


def verify(
    plan: str, route: str, level: Level, id_kind: str, expires: IndexExpires | None, show_values: bool = False
) -> Verified:
    """Return what the route's target holds against what its source says now."""
    loaded = load(Path(plan))
    with opened_state(loaded) as state:
        return verify_job(loaded, VerifyJob(route, level, id_kind, expires, show_values), stopping=_asked(state, route))


def _asked(state: State, route: str) -> Callable[[], bool]:
    """Return what tells whether the route is to stop, asking the state now and then: the run may be elsewhere."""
    asked_at = 0.0
    told = False

    def stopping() -> bool:
        nonlocal asked_at, told
        if not told and time.monotonic() - asked_at >= _LOOK_EVERY_S:
            asked_at = time.monotonic()
            told = state.stopped(route)
        return told or STOPPING.is_set()

    return stopping
