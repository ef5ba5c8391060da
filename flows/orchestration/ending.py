"""How a flow run ends: its state has a short message, and whoever called it in this process has its outcome.

No exception leaves a flow of offramp: Prefect logs it with its traceback and writes it, pickled, to the result storage,
whatever `persist_result` says, and an error or a report may hold `_id`s and values.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from prefect import Flow, get_run_logger, tags
from prefect.client.schemas.objects import State
from prefect.states import Cancelled, Completed, Failed

from flows.connect.lease_renewal import LEASE_HELD
from flows.orchestration.server_faults import answering_client
from flows.orchestration.skipped_runs import SKIPPED
from flows.orchestration.summary import error_line
from flows.orchestration.temporary_server import temporary_server
from flows.terminal import echo
from stores.errors import OfframpError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Ending(Generic[T]):
    """How the work of a flow run ended."""

    outcome: T
    message: str
    """In one line, without anything of a document: Prefect keeps it."""
    is_clean: bool
    """Whether the flow run is Completed; it is Failed otherwise."""


@dataclass(slots=True)
class _Call:
    ending: Ending[Any] | None = None
    error: Exception | None = None


_call: ContextVar[_Call | None] = ContextVar("offramp_call", default=None)


def end_flow(work: Callable[[], Ending[Any]], *, skip_held: bool = False) -> State[Any]:
    """Do the work of a flow run and return the state it ends in; the outcome or the error is the caller's alone.

    Without a caller in this process, as under a worker, an error is printed to standard error. With `skip_held` the run
    is cancelled, and has not failed, where another run is at work on one of its routes.
    """
    call = _call.get()
    try:
        ending = work()
    except Exception as error:  # noqa: BLE001 - see above
        if call is not None:
            call.error = error
        else:
            _print(error)
        if skip_held and isinstance(error, OfframpError) and error.code == LEASE_HELD:
            return Cancelled(name=SKIPPED, message=error_line(error))
        return Failed(message=error_line(error))
    if call is not None:
        call.ending = ending
    if not ending.is_clean:
        return Failed(message=ending.message)
    get_run_logger().info("%s", ending.message)
    return Completed(message=ending.message)


def call_flow(flow: Flow[..., Any], **parameters: Any) -> Any:
    """Run the flow in this process and return its outcome, clean or not; its error is raised as itself.

    Raises PlanError or TransientError where there is no Prefect server that answers.
    """
    call = _Call()
    token = _call.set(call)
    try:
        # Runs of a deployment have the tag too: automations choose by it.
        with temporary_server(), answering_client(), tags("offramp"):
            state: State[Any] = flow(**parameters, return_state=True)  # type: ignore[assignment]
    finally:
        _call.reset(token)
    if call.error is not None:
        raise call.error
    return state.result() if call.ending is None else call.ending.outcome


def _print(error: Exception) -> None:
    if isinstance(error, OfframpError):
        echo(f"offramp: {error}", err=True)
    else:
        echo(*"".join(traceback.format_exception(error)).splitlines(), err=True)
