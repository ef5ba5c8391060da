"""The plan of a flow run, where its parameter says."""

from __future__ import annotations

from pathlib import Path

from flows.orchestration import secret_blocks as _secret_blocks  # noqa: F401 - a plan may name its secrets there
from flows.orchestration.run_log import use_run_log
from flows.plan.load import load
from flows.plan.model import Plan


def open_plan(plan: str) -> Plan:
    """Return the plan at this path; warnings of the program go to the log of the run from now on, without values."""
    loaded = load(Path(plan))
    use_run_log([loaded.name, *loaded.routes])
    return loaded
