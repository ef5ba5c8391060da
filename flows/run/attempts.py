"""How often a job is begun again, wherever workers are: the one rule of threads, processes, Dask and Ray."""

from __future__ import annotations

from typing import Final

from stores.contract.stop import STOPPED
from stores.errors import TransientError

DEATHS: Final = 3
"""How often a job is begun whose worker is killed: what kills it may be the job itself, by the memory it takes."""
FAILURES: Final = 4
"""How often a job is begun that fails with an error that may pass, on another worker where there is one."""
SETUP: Final = "E-WORKER-SETUP"
DIED: Final = "E-WORKER-DIED"
LEFT: Final = "E-WORKER-LEFT"
GONE: Final = "E-CLUSTER-GONE"
_FINAL = frozenset((STOPPED, DIED, GONE))
"""Errors that may pass, but for which a job is not begun again: by then it was, or nobody is there to begin it."""


def may_pass(error: Exception | None) -> bool:
    """Return whether a job that ended with this error is worth another attempt in the same run."""
    return isinstance(error, TransientError) and error.code not in _FINAL


def worker_died(route: str, how: str) -> TransientError:
    """Return the error of a job whose workers were killed as often as it is begun."""
    return TransientError(
        DIED,
        f"route {route}: its worker process {how}; with too little memory, lower run.workers or run.window. The same"
        " command resumes",
    )
