"""Registering deployments on a Prefect server, removing old ones, and serving them by this process."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from prefect import serve
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterTags
from prefect.client.schemas.objects import (
    ConcurrencyLimitConfig,
    ConcurrencyLimitStrategy,
    ConcurrencyOptions,
)
from prefect.client.schemas.schedules import SCHEDULE_TYPES, CronSchedule, IntervalSchedule
from prefect.deployments.runner import RunnerDeployment
from prefect.exceptions import ObjectNotFound
from prefect.flows import Flow, load_flow_from_entrypoint
from prefect.utilities.annotations import freeze
from prefect.utilities.callables import parameter_schema

from flows.orchestration.deployments import COLLISION, Deployment, plan_tag, working_in
from flows.orchestration.plan_blocks import save_plan_block
from flows.orchestration.server_faults import answering_client, server_url
from flows.plan.model import Plan
from flows.quantities import named
from stores.errors import PlanError

_PROCESS = "process"
_LIMIT = 1
_MOST = 200
"""As many as the server returns at once."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where runs work."""

    folder: str
    """The folder of the plan there."""
    pool: str | None
    """The work pool; None for runs of this very process."""
    elsewhere: bool = False
    """Whether that folder was named for a worker's machine or image, rather than being the one here."""


def register(made: Sequence[Deployment], plan: str, place: Place) -> list[str]:
    """Register exactly these deployments of the plan, active and in this place; return the sorted names removed.

    Raises PlanError where no server or no fit work pool is named, TransientError where the server does not answer.
    """
    with answering_client() as client:
        if place.pool is not None:
            _refuse_unfit(client, place.pool, place.elsewhere)
        else:  # A server never takes a deployment off its pool, and a worker would get its runs.
            for found in client.read_deployments(deployment_filter=_ours(plan), limit=_MOST):
                if found.work_pool_name is not None:
                    client.delete_deployment(found.id)
        kept = {_registered(client, deployment, place) for deployment in made}
        removed = []
        for found in client.read_deployments(deployment_filter=_ours(plan), limit=_MOST):
            if found.id not in kept:
                client.delete_deployment(found.id)
                removed.append(f"{client.read_flow(found.flow_id).name}/{found.name}")
    return sorted(removed)


def keep_plan(block: str, plan: Plan, place: Place) -> None:
    """The plan, as it is written, is in the block of this name on the server, with the files that it names.

    Raises PlanError, and leaves what the block holds for deployments of before, for a place that `register` refuses, a
    plan in whose text a secret can be read, a name that no block may have and a file that is no text. Raises
    TransientError where the server does not answer.
    """
    if plan.written.readable:
        raise PlanError(
            "E-DEPLOY-BLOCK",
            f"a secret can be read in the plan at {named(plan.written.readable)}, and could be by whoever may read"
            " blocks on the server; write ${NAME} there, and give the variable to the worker",
        )
    with answering_client() as client:
        if place.pool is not None:
            _refuse_unfit(client, place.pool, place.elsewhere)
        save_plan_block(block, plan.written.text, plan.written.files)


def serve_here(made: Sequence[Deployment], plan: str, folder: str) -> None:
    """Run what the deployments start, each run in a process of its own, until this process is asked to end.

    Their schedules are paused at the end, so that no runs pile up; serving again starts them anew.
    """
    # Serving alone would leave an earlier work pool and earlier schedules in place.
    register(made, plan, Place(folder, None))
    limit = ConcurrencyLimitConfig(limit=_LIMIT, collision_strategy=ConcurrencyLimitStrategy(COLLISION))
    served = [
        RunnerDeployment.from_entrypoint(
            deployment.entrypoint,
            deployment.name,
            schedules=_schedules(deployment),
            parameters={**deployment.parameters, "plan": freeze(deployment.parameters["plan"])},
            description=deployment.description,
            tags=list(deployment.tags),
            concurrency_limit=limit,
        )
        for deployment in made
    ]
    try:
        with contextlib.chdir(folder):
            # Prefect's own pausing is cut short by the SIGTERM that calls for it.
            serve(*served, print_starting_message=False, pause_on_shutdown=False)
    finally:
        with answering_client() as client:
            for found in client.read_deployments(deployment_filter=_ours(plan), limit=_MOST):
                client.pause_deployment(found.id)


def _ours(plan: str) -> DeploymentFilter:
    """Return the filter that picks the deployments offramp made of a plan."""
    return DeploymentFilter(tags=DeploymentFilterTags(all_=["offramp", plan_tag(plan)]))


def _registered(client: SyncPrefectClient, deployment: Deployment, place: Place) -> UUID:
    flow: Flow[..., Any] = load_flow_from_entrypoint(deployment.entrypoint)
    on_pool: dict[str, Any] = {}
    if place.pool is not None:
        on_pool = {
            "work_pool_name": place.pool,
            "job_variables": _job_variables(client, f"{flow.name}/{deployment.name}", place.pool),
            "pull_steps": [working_in(place.folder)],
        }
    return client.create_deployment(
        client.create_flow_from_name(flow.name),
        deployment.name,
        entrypoint=deployment.entrypoint,
        description=deployment.description,
        parameters=dict(deployment.parameters),
        parameter_openapi_schema=_schema(flow, deployment.parameters["plan"]),
        enforce_parameter_schema=True,
        schedules=_schedules(deployment),
        concurrency_limit=_LIMIT,
        concurrency_options=ConcurrencyOptions(collision_strategy=ConcurrencyLimitStrategy(COLLISION)),
        tags=list(deployment.tags),
        paused=False,
        **on_pool,
    )


def _job_variables(client: SyncPrefectClient, name: str, pool: str) -> Mapping[str, Any]:
    """Return what a person has set for the infrastructure of the deployment's runs; none of it suits another pool."""
    try:
        found = client.read_deployment_by_name(name)
    except ObjectNotFound:
        return {}
    return found.job_variables if found.work_pool_name == pool else {}


def _schema(flow: Flow[..., Any], plan: str) -> dict[str, Any]:
    """Return the schema of the flow's parameters; a run may have no other plan than this one: a plan is code."""
    schema = parameter_schema(flow)
    schema.properties["plan"] |= {"readOnly": True, "enum": [plan]}
    return schema.model_dump(exclude_unset=True)


def _schedules(deployment: Deployment) -> list[DeploymentScheduleCreate]:
    if deployment.schedule is None:
        return []
    return [
        DeploymentScheduleCreate(schedule=_schedule(deployment.schedule), slug=deployment.schedule["slug"], active=True)
    ]


def _schedule(keys: Mapping[str, Any]) -> SCHEDULE_TYPES:
    if "cron" in keys:
        return CronSchedule(cron=keys["cron"], timezone=keys["timezone"])
    return IntervalSchedule(interval=keys["interval"])


def _refuse_unfit(client: SyncPrefectClient, name: str, elsewhere: bool) -> None:
    """Raise PlanError unless the work pool is there and its runs can find the plan."""
    try:
        pool = client.read_work_pool(name)
    except ObjectNotFound as error:
        raise PlanError(
            "E-DEPLOY-POOL",
            f"there is no work pool {name!r} on {server_url()}; create it:"
            f" prefect work-pool create {name} --type {_PROCESS}",
        ) from error
    if pool.type != _PROCESS and not elsewhere:
        raise PlanError(
            "E-DEPLOY-POOL",
            f"work pool {name!r} is of type {pool.type}, whose runs do not see this machine's files; name one of type"
            f" {_PROCESS}, or say with --plan-at where its runs find the plan, or with --plan-block and --run-in where"
            " they work",
        )
