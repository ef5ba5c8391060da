"""The Prefect deployments of a plan: one list, which ``offramp deploy`` registers and ``prefect.yaml`` writes down.

``python -m flows.orchestration.deployments --check`` compares config/prefect.yaml with the list for a plan called shop,
and ``--write`` writes that list.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from flows import generated_file
from stores.errors import PlanError

Kind = Literal["sync", "verification", "backfill", "check", "repair", "retry"]
KINDS: Sequence[Kind] = ("sync", "verification", "backfill", "check", "repair", "retry")

_FLOWS: Mapping[Kind, str] = {"repair": "mismatch_repair", "retry": "reject_retry"}
"""The flows whose module is not called as their kind."""
ENTRYPOINTS: Mapping[Kind, str] = {kind: "flows.{0}.{0}".format(_FLOWS.get(kind, kind)) for kind in KINDS}
POOL = "offramp"
COLLISION = "CANCEL_NEW"
_SYNC_EVERY_S = 300
_VERIFY_AT = "04:05"
_WAIT_MINUTES = 30
"""How long a verification, a repair or a retry waits for a sync, which lasts some seconds to minutes."""
_NO_NAME = re.compile(r"[/%&<>]")
_DESCRIPTIONS: Mapping[Kind, str] = {
    "sync": "Copies or deletes what changed in the source since the last run.",
    "verification": "Compares the targets with the source as it is now; writes no record.",
    "backfill": "Copies what is not copied yet, verifies everything, reports.",
    "check": "Finds every fault of the plan, its source and its targets; writes nothing.",
    "repair": "Copies again what the last verification found missing or different.",
    "retry": "Reads rejected documents from the source again and writes those that can be mapped now.",
}


@dataclass(frozen=True)
class Wanted:
    """The deployments a plan is to have; `offramp deploy` decides nothing else."""

    plan: str
    """The plan's name."""
    plan_reference: str
    """Where the runs find the plan: a path, or block:NAME."""
    routes: Sequence[str]
    """The routes of the plan."""
    kinds: Sequence[Kind] = KINDS
    sync_every_s: float = _SYNC_EVERY_S
    alone_s: Mapping[str, float] = field(default_factory=dict)
    """Routes whose sync has a schedule of its own, with its seconds."""
    verify_at: str = _VERIFY_AT
    """HH:MM of each day."""
    time_zone: str = "UTC"
    report_folder: str | None = None
    """Where backfills and verifications write their report; beside the plan unless given."""


@dataclass(frozen=True)
class Deployment:
    """One deployment: a flow, its parameters and when it runs."""

    kind: Kind
    name: str
    parameters: Mapping[str, Any]
    schedule: Mapping[str, Any] | None
    """The keys of a schedule in prefect.yaml, None for one that runs on demand."""
    tags: Sequence[str]

    @property
    def entrypoint(self) -> str:
        """The module path of the flow: the worker's Python has the package installed."""
        return ENTRYPOINTS[self.kind]

    @property
    def full_name(self) -> str:
        """The deployment's name in Prefect: the name of its flow, then its own."""
        return f"offramp {self.kind}/{self.name}"

    @property
    def description(self) -> str:
        """The text that Prefect shows of the deployment."""
        return _DESCRIPTIONS[self.kind]

    def as_yaml(self, pool: str) -> dict[str, Any]:
        """Return the deployment's entry in a prefect.yaml."""
        return {
            "name": self.name,
            "description": self.description,
            "entrypoint": self.entrypoint,
            "parameters": dict(self.parameters),
            "schedules": [dict(self.schedule)] if self.schedule else [],
            "concurrency_limit": {"limit": 1, "collision_strategy": COLLISION},
            "tags": list(self.tags),
            "work_pool": {"name": pool},
        }


def plan_tag(plan: str) -> str:
    """Return the tag that a plan's deployments, and no others, have."""
    return f"plan:{plan}"


def deployments(wanted: Wanted) -> list[Deployment]:
    """Return the deployments a plan is to have; raises PlanError for a name that Prefect does not take."""
    if _NO_NAME.search(wanted.plan):
        raise PlanError(
            "E-DEPLOY-NAME",
            f"the plan is called {wanted.plan!r}, but a deployment's name cannot have / % & < >; set another `name` in"
            " the plan, before its first run",
        )
    made: list[Deployment] = []
    report = {} if wanted.report_folder is None else {"report": wanted.report_folder}

    def add(
        kind: Kind, name: str, routes: Sequence[str], schedule: Mapping[str, Any] | None, **parameters: Any
    ) -> None:
        chosen = {} if set(routes) == set(wanted.routes) else {"routes": list(routes)}
        tags = ["offramp", kind, plan_tag(wanted.plan), *(f"route:{route}" for route in routes)]
        made.append(Deployment(kind, name, {"plan": wanted.plan_reference, **chosen, **parameters}, schedule, tags))

    if "sync" in wanted.kinds:
        together = [route for route in wanted.routes if route not in wanted.alone_s]
        if together:
            add("sync", wanted.plan, together, _every(wanted.sync_every_s))
        for route, seconds in wanted.alone_s.items():
            add("sync", f"{wanted.plan}-{route}", [route], _every(seconds))
    if "verification" in wanted.kinds:
        hour, minute = map(int, wanted.verify_at.split(":"))
        nightly = {"slug": "nightly", "cron": f"{minute} {hour} * * *", "timezone": wanted.time_zone}
        add("verification", wanted.plan, wanted.routes, nightly, level="full", wait_minutes=_WAIT_MINUTES, **report)
    if "backfill" in wanted.kinds:
        add("backfill", wanted.plan, wanted.routes, None, **report)
    if "check" in wanted.kinds:
        add("check", wanted.plan, wanted.routes, None, **report)
    if "repair" in wanted.kinds:
        add("repair", wanted.plan, wanted.routes, None, wait_minutes=_WAIT_MINUTES)
    if "retry" in wanted.kinds:
        add("retry", wanted.plan, wanted.routes, None, wait_minutes=_WAIT_MINUTES)
    return made


def as_yaml(made: Sequence[Deployment], pool: str = POOL, folder: str | None = None) -> str:
    """Return the deployments as the text of a prefect.yaml, whose runs work in this folder."""
    content: dict[str, Any] = {}
    if folder:
        content["pull"] = [working_in(folder)]
    content["deployments"] = [deployment.as_yaml(pool) for deployment in made]
    return _HEADER.format(pool=pool) + yaml.safe_dump(content, sort_keys=False, width=120)


def working_in(folder: str) -> dict[str, Any]:
    """Return the pull step that lets a run work in this folder."""
    return {"prefect.deployments.steps.set_working_directory": {"directory": folder}}


def _every(seconds: float) -> dict[str, Any]:
    return {"slug": "often", "interval": seconds}


_HEADER = """\
# Prefect deployments of a plan, as `offramp deploy PLAN` registers them and `offramp deploy PLAN --yaml` writes them
# down. To deploy from a file, write one of your own plan that way, and run:
#
#   prefect work-pool create {pool} --type process
#   prefect --no-prompt deploy --prefect-file prefect.yaml --all
#   prefect worker start --pool {pool} --type process
#
# Without `pull` the folder in which `prefect deploy` runs is the working directory of every run. The worker's Python
# needs the installed package (pip install mongo-offramp): entrypoints are modules, not files. What the plan takes from
# the environment (${{MONGODB_URI}}) must be set where the worker starts, not here.
#
# A plan is code. Whoever may start runs of these deployments may name any plan that the worker can read; deployments
# that `offramp deploy` registers take no plan but their own.
#
# The lease in the plan's state keeps runs of a route apart whoever starts them; the concurrency limit is the second
# guard and keeps scheduled runs from piling up. Start the server with
#   PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE=prefect.server.concurrency.lease_storage.filesystem
# or its restart ends a run that counts against a limit. `prefect deploy --all` does not remove a deployment that has
# left this file; `offramp deploy` does.

"""

EXAMPLE = Wanted("shop", "plan.yaml", ("orders", "sessions"))
"""What config/prefect.yaml shows."""
SHIPPED = Path(__file__).parents[2] / "config" / "prefect.yaml"


def main(arguments: Sequence[str]) -> int:
    """Print, write or check config/prefect.yaml; returns the exit code."""
    text = as_yaml(deployments(EXAMPLE))
    return generated_file.run(arguments, "flows.orchestration.deployments", SHIPPED, lambda _: text)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
