"""How a flow run ends: its state has a short message, and whoever called it in this process has its outcome.

No exception leaves a flow of offramp: Prefect logs it with its traceback and writes it, pickled, to the result storage,
whatever `persist_result` says, and an error or a report may hold `_id`s and values.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar
from uuid import UUID

import httpx
from prefect import Flow, get_client, get_run_logger, tags
from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.exceptions import CancelledRun, FailedRun, PrefectException, TerminationSignal
from prefect.states import Cancelled, Completed, Failed

from flows.connect.lease_renewal import LEASE_HELD
from flows.orchestration.server_faults import answering_client
from flows.orchestration.skipped_runs import SKIPPED
from flows.orchestration.summary import error_line
from flows.orchestration.temporary_server import temporary_server
from flows.orchestration.waiting import stop_at_checkpoint
from flows.terminal import echo
from stores.contract.stop import PROCESS_STOP, STOPPED, Stop
from stores.errors import OfframpError, TransientError

T = TypeVar("T")

STOPPED_RUN = "Stopped"
"""The name of the state of a run that a signal ended at a checkpoint."""


@dataclass(frozen=True, slots=True)
class Ending(Generic[T]):
    """How the work of a flow run ended."""

    outcome: T
    message: str
    """In one line, without anything of a document: Prefect keeps it."""
    is_clean: bool
    """Whether the flow run is Completed; it is Failed otherwise."""
    is_stopped: bool = False
    """Whether it is Cancelled, named Stopped, instead: a signal or Prefect's cancellation ended it at a checkpoint."""


class _Outcome(Protocol):
    @property
    def failure(self) -> str:
        """Why the route did not finish, "" if it did: an error with its code."""


OutcomeT = TypeVar("OutcomeT", bound=_Outcome)


def ending_of(outcomes: Sequence[OutcomeT], message: str, *, is_clean: bool) -> Ending[Sequence[OutcomeT]]:
    """Return the ending of work on routes; it is not clean where one of them did not finish."""
    failures = [outcome.failure for outcome in outcomes if outcome.failure]
    stopped = any(failure.startswith(STOPPED) for failure in failures)
    return Ending(outcomes, message, is_clean=is_clean and not failures, is_stopped=stopped)


@dataclass(slots=True)
class _Call:
    ending: Ending[Any] | None = None
    error: Exception | None = None


_ENGINE_LOGGERS = ("prefect.flow_runs", "prefect.engine")

_called_runs: list[UUID] = []
"""The flow run that `call_flow` runs; the thread that ends the program knows no context."""
_call: ContextVar[_Call | None] = ContextVar("offramp_call", default=None)


def end_flow(work: Callable[[Stop], Ending[Any]], *, skip_held: bool = False) -> State[Any]:
    """Do the work of a flow run and return the state it ends in; the outcome or the error is the caller's alone.

    The work is given a stop that a signal sets, as Prefect's cancellation is. Without a caller in this process, as
    under a worker, an error is printed to standard error. With `skip_held` the run is cancelled, and has not failed,
    where other runs are at work on all of its routes.
    """
    call = _call.get()
    context = FlowRunContext.get()
    for name in _ENGINE_LOGGERS:
        logging.getLogger(name).addFilter(_no_traceback_of_an_ending)
    if call is not None and context is not None and context.flow_run is not None:
        _called_runs.append(context.flow_run.id)
    with stop_at_checkpoint() as stop:
        try:
            ending = work(stop)
        except Exception as error:  # noqa: BLE001 - see above
            if call is not None:
                call.error = error
            else:
                _print(error)
            return _state_of(error, skip_held=skip_held)
        if call is not None:
            call.ending = ending
        if ending.is_clean:
            get_run_logger().info("%s", ending.message)
            return Completed(message=ending.message)
        if ending.is_stopped:
            return Cancelled(name=STOPPED_RUN, message=ending.message)
        return Failed(message=ending.message)


def mark_stopped() -> None:
    """The server has the flow run that was called in this process as stopped, if it is one that answers."""
    for run in _called_runs:
        with suppress(httpx.HTTPError, PrefectException), get_client(sync_client=True) as client:
            message = "ended by a signal before it had stopped; the same command resumes"
            client.set_flow_run_state(run, Cancelled(name=STOPPED_RUN, message=message), force=True)


def _state_of(error: Exception, *, skip_held: bool) -> State[Any]:
    message = error_line(error)
    code = error.code if isinstance(error, OfframpError) else ""
    if code == STOPPED:
        return Cancelled(name=STOPPED_RUN, message=message)
    if code == LEASE_HELD and skip_held:
        return Cancelled(name=SKIPPED, message=message)
    return Failed(message=message)


def call_flow(flow: Flow[..., Any], **parameters: Any) -> Any:
    """Run the flow in this process and return its outcome, clean or not; its error is raised as itself.

    Raises PlanError or TransientError where there is no Prefect server that answers.
    """
    call = _Call()
    token = _call.set(call)
    try:
        # Runs of a deployment have the tag too: automations choose by it.
        with temporary_server(PROCESS_STOP), answering_client(), tags("offramp"):
            state: State[Any] = flow(**parameters, return_state=True)  # type: ignore[assignment]
    except TerminationSignal:  # A signal outside of the flow's body.
        if call.ending is None:
            raise TransientError(STOPPED, "stopped by a signal; the same command resumes") from None
        return call.ending.outcome
    finally:
        _call.reset(token)
        _called_runs.clear()
    if call.error is not None:
        raise call.error
    return state.result() if call.ending is None else call.ending.outcome


def _no_traceback_of_an_ending(record: logging.LogRecord) -> bool:
    """Return False for the traceback by which Prefect tells that a run did not complete: its state has been logged."""
    error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
    return not isinstance(error, CancelledRun | FailedRun)


def is_called() -> bool:
    """Return whether a command of this process runs the flow, by `call_flow`; it ends soon after that."""
    return _call.get() is not None


def _print(error: Exception) -> None:
    if not isinstance(error, OfframpError):
        echo(*"".join(traceback.format_exception(error)).splitlines(), err=True)
        return
    first, *rest = error.lines
    # Which run has which route is said where somebody waits for it; a run that is due again is none of those.
    echo(f"offramp: {first}", *(rest if error.code != LEASE_HELD else ()), err=True)
