"""What a task does wherever it runs: plain values in, the plan loaded anew, stopped by way of the state.

Plain functions: Prefect sends a task to another process with what its body names, and a lock or an event cannot go
along.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from flows.connect.stores import open_state
from flows.orchestration.artifacts import Counted, artifact_key, shown
from flows.plan.load import load
from flows.run.jobs import CopyJob, LoadJob, Span, copy_job, load_job
from flows.verifier.job import Asked, Stage, Verified, VerifyJob, verify_job
from mappers.expiry import IndexExpires
from stores.state.leases import Lease
from stores.state.state import State
from stores.throttling.backoff import STOPPING

_LOOK_EVERY_S = 1.0


def copy(
    plan: str, route: str, number: int, owner: str, fence: int, id_kind: str, expires: IndexExpires | None
) -> Span:
    """The partition is copied from its last checkpoint on; returns when that was."""
    loaded = load(Path(plan))
    job = CopyJob(route, number, Lease(loaded.name, route, owner, fence), id_kind, expires)
    with open_state(loaded) as state:
        return copy_job(loaded, job, stopping=_asked(state, job.lease))


def load_staged(plan: str, route: str, owner: str, fence: int) -> Span:
    """The route's target has loaded what was staged; returns when that was."""
    loaded = load(Path(plan))
    job = LoadJob(route, Lease(loaded.name, route, owner, fence))
    counted = Counted(route)
    with open_state(loaded) as state, shown(artifact_key(loaded.name, route, "load"), counted.far):
        return load_job(loaded, job, observer=counted, stopping=_asked(state, job.lease))


def verify(
    plan: str,
    route: str,
    asked: Asked,
    owner: str,
    fence: int,
    id_kind: str,
    expires: IndexExpires | None,
    stage: Stage,
    number: int,
) -> Verified:
    """Return what the route's target holds against what its source says now, or that a part of it was looked at."""
    loaded = load(Path(plan))
    job = VerifyJob(route, asked, Lease(loaded.name, route, owner, fence), id_kind, expires, stage, number)
    counted = Counted(route)
    with open_state(loaded) as state, shown(artifact_key(loaded.name, route, "verify"), counted.far):
        return verify_job(loaded, job, observer=counted, stopping=_asked(state, job.lease))


def _asked(state: State, lease: Lease) -> Callable[[], bool]:
    """Return a function that tells whether to stop; it asks the state now and then, as the run may be elsewhere."""
    asked_at = 0.0
    told = False

    def stopping() -> bool:
        nonlocal asked_at, told
        if not told and time.monotonic() - asked_at >= _LOOK_EVERY_S:
            asked_at = time.monotonic()
            told = state.work_requests.stopped(lease)
        return told or STOPPING.is_set()

    return stopping
