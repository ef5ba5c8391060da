"""The plan of a flow run: a file, or a block of the Prefect server that holds its text."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from uuid import UUID

from prefect.context import FlowRunContext

from flows.orchestration import secret_blocks as _secret_blocks  # noqa: F401 - a plan may name its secrets there
from flows.orchestration.plan_blocks import read_plan_block
from flows.orchestration.run_log import use_run_log
from flows.plan.load import load
from flows.plan.model import Plan
from stores.errors import OfframpError

BLOCK = "block:"
"""What the parameter `plan` begins with where it names a block."""

_NAME = re.compile(r"^name:[ \t]*([\"']?)([^\"'#\n$]+?)\1[ \t]*(?:#.*)?$", re.MULTILINE)
_MOST_LETTERS = 200


@dataclass(frozen=True, slots=True)
class PlanSource:
    """Where a plan is; it goes to the workers, which load the plan again."""

    path: Path
    """Its file; of a plan with a text, the file in the run's working directory that it stands for."""
    text: str | None = None
    """The plan as YAML, None where the file holds it."""


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
    text = read_plan_block(name) if run is None else _read_once(name, run.id)
    return PlanSource(Path.cwd() / f"{name}.yaml", text)


@lru_cache(maxsize=1)
def _read_once(name: str, _flow_run: UUID) -> str:
    return read_plan_block(name)


def open_plan(source: PlanSource) -> Plan:
    """Return the plan; warnings of the program go to the log of the run from now on, without values."""
    plan = load(source.path, text=source.text)
    use_run_log([plan.name, *plan.routes])
    return plan


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
