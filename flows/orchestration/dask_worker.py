"""What a worker of Dask runs: it is imported there by its name, so that Dask sends nothing but bytes and names."""

from __future__ import annotations

from distributed import get_worker

from flows.orchestration import worker_entry

_AT_WORK = frozenset(("init", "running", "paused"))
"""The states of a Dask worker, by name, in which it is not about to end."""


def do_parcel(setup: tuple[str, str], job: bytes) -> bytes:
    """Return the answer to a job, as bytes; a worker that Dask or a signal ends lets it stop at a checkpoint."""
    worker = get_worker()
    return worker_entry.do_parcel(setup, job, worker.address, lambda: worker.status.name not in _AT_WORK)
