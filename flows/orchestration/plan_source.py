"""The plan of a flow run: a file, or a block of the Prefect server that holds its text; and what its workers load."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from uuid import UUID

from prefect.context import FlowRunContext

from flows.connect.registered_plan import RegisteredPlan, open_registered, register_plan
from flows.connect.stores import open_state
from flows.orchestration import secret_blocks as _secret_blocks  # noqa: F401 - a plan may name its secrets there
from flows.orchestration.plan_blocks import PlanBlock, read_plan_block
from flows.orchestration.run_log import use_run_log
from flows.plan.load import load
from flows.plan.model import Plan
from flows.plan.own_files import FilesInMemory
from flows.quantities import named
from stores.errors import OfframpError, PermanentError, PlanError

BLOCK = "block:"
"""What the parameter `plan` begins with where it names a block."""

_NAME = re.compile(r"^name:[ \t]*([\"']?)([^\"'#\n$]+?)\1[ \t]*(?:#.*)?$", re.MULTILINE)
_MOST_LETTERS = 200


@dataclass(frozen=True, slots=True)
class PlanSource:
    """Where a flow run finds its plan."""

    path: Path
    """Its file; of a plan with a text, the file in the run's working directory that it stands for."""
    text: str | None = None
    """The plan as YAML, None where the file holds it."""
    files: Mapping[str, str] = field(default_factory=dict)
    """The files of its own mappers that came with the text; those beside the path unless there are any."""
    readable: Sequence[str] = ()
    """The keys whose secrets keep the plan out of the state."""


WorkerPlan = RegisteredPlan | PlanSource
"""What a worker loads the plan by: the state, or on the machine of its flow run the source of that."""


def find_plan(plan: str) -> PlanSource:
    """Return where the plan is that a parameter names: a path, or ``block:NAME`` for a block.

    A flow run reads the block once: its name and its work are of the same text.
    Raises PlanError if there is no such block, TransientError if the server does not answer.
    """
    if not plan.startswith(BLOCK):
        return PlanSource(Path(plan).absolute())
    name = plan.removeprefix(BLOCK)
    context = FlowRunContext.get()
    run = context.flow_run if context else None
    block = read_plan_block(name) if run is None else _read_once(name, run.id)
    return PlanSource(Path.cwd() / f"{name}.yaml", block.text, block.files)


@lru_cache(maxsize=1)
def _read_once(name: str, _flow_run: UUID) -> PlanBlock:
    return read_plan_block(name)


def open_plan(source: PlanSource) -> Plan:
    """Return the plan; warnings of the program go to the log of the run from now on, without values."""
    contents = {name: text.encode() for name, text in source.files.items()}
    files = FilesInMemory(contents, f"block {source.path.stem}") if contents else None
    plan = load(source.path, text=source.text, files=files)
    use_run_log([plan.name, *plan.routes])
    return plan


def plan_for_workers(plan: Plan, source: PlanSource | None = None) -> WorkerPlan:
    """Return what workers load the plan by, which is on record in its state from now on.

    A plan in whose text a secret can be read is not put there: workers load it from the source, by default its file.
    """
    with open_state(plan) as state:
        registered = register_plan(plan, state)
    if registered is not None:
        return registered
    return replace(source or PlanSource(plan.path.absolute()), readable=plan.written.readable)


@contextmanager
def open_for_work(plan: WorkerPlan, route: str) -> Iterator[Plan]:
    """Give the plan for work on the route; warnings go to the log of the run from now on, as by `open_plan`.

    Raises PermanentError E-WORKER-PLAN where this worker cannot have the plan of its run; see `open_registered`.
    """
    if isinstance(plan, RegisteredPlan):
        with open_registered(plan, route) as loaded:
            use_run_log([loaded.name, *loaded.routes])
            yield loaded
        return
    try:
        loaded = open_plan(plan)
    except PlanError as error:
        if not plan.readable:
            raise
        raise PermanentError(
            "E-WORKER-PLAN",
            f"{error.message}. The state has not this plan, because a secret can be read in it at"
            f" {named(plan.readable)}: write ${{NAME}} there, or let workers have the plan's file",
        ) from None
    yield loaded


def name_run() -> str:
    """Return the name of the current flow run, such as ``shop sync orders``: its plan, its command and its routes."""
    context = FlowRunContext.get()
    parameters = (context.parameters if context else None) or {}
    flow_name = context.flow.name if context and context.flow else ""
    words = [_plan_name(str(parameters.get("plan", ""))), flow_name.removeprefix("offramp ")]
    routes = parameters.get("routes")
    if isinstance(routes, list | tuple):
        words.append(", ".join(map(str, routes)))
    return " ".join(filter(None, words))[:_MOST_LETTERS]


def _plan_name(plan: str) -> str:
    """Return the plan's name without loading it: a run whose plan is at fault has a name too."""
    try:
        source = find_plan(plan)
        text = source.path.read_text(encoding="utf-8") if source.text is None else source.text
    except (OSError, UnicodeDecodeError, OfframpError):
        return Path(plan.removeprefix(BLOCK)).stem
    named = _NAME.search(text)
    return named[2].strip() if named else source.path.stem
