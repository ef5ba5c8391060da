"""Syncs that were skipped because another run was at work: Prefect keeps one an hour, not one every five minutes."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Iterable, Iterator
from typing import Any
from uuid import UUID

import httpx
from prefect import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.context import FlowRunContext
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError

SKIPPED = "Skipped"
"""The name of the state of a run that found another at work."""
LIMIT_REACHED = "Deployment concurrency limit reached."
"""The message with which the server cancels a run that is due while its deployment's limit is reached."""
_MOST = 200
"""As many as the server returns at once."""

_log = logging.getLogger(__name__)


def remove_skipped_runs(ending: State[Any]) -> None:
    """Of the current run's deployment, one skipped run an hour is left on record; runs that a person cancelled stay.

    `ending` is the state in which the current run is about to end: if it is skipped, it is the one of its hour.

    A server that does not answer or refuses is logged: a sync needs none of this.
    """
    context = FlowRunContext.get()
    run = context.flow_run if context else None
    if run is None or run.deployment_id is None:
        return
    cancelled = FlowRunFilter(
        deployment_id=FlowRunFilterDeploymentId(any_=[run.deployment_id]),
        state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.CANCELLED])),
    )
    try:
        with get_client(sync_client=True) as client:
            found = client.read_flow_runs(
                flow_run_filter=cancelled, sort=FlowRunSort.EXPECTED_START_TIME_DESC, limit=_MOST
            )
            ended = [run.model_copy(update={"state": ending}), *found]
            for flow_run_id in superfluous(ended):
                try:
                    client.delete_flow_run(flow_run_id)
                except ObjectNotFound:  # Another run was faster.
                    continue
    except (PrefectHTTPStatusError, httpx.TransportError) as error:
        _log.warning("skipped syncs stay on record: %s", error)


def superfluous(runs: Iterable[FlowRun]) -> Iterator[UUID]:
    """Yield the skipped runs among these, newest first, that are not the newest of their hour."""
    hours: set[dt.datetime] = set()
    for run in runs:
        state, due = run.state, run.expected_start_time
        if state is None or due is None or not (state.name == SKIPPED or state.message == LIMIT_REACHED):
            continue
        hour = due.astimezone(dt.UTC).replace(minute=0, second=0, microsecond=0)
        if hour in hours:
            yield run.id
        hours.add(hour)
