"""Plans for tests of the whole program, and running it as a user does: in this process, or in one of its own."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from explained import contradictions

from flows.cli.main import main

RUN_LIMIT_S = 500


@dataclass(frozen=True)
class Stores:
    """Where the session's servers are."""

    mongodb: str
    redis: str
    dynamodb: str
    elasticsearch: str

    def targets(self) -> dict[str, Any]:
        """Return the `targets` of a plan."""
        return {
            "redis": {"url": self.redis, "retry_deadline_s": 10},
            "dynamodb": {"region": "eu-west-1", "endpoint": self.dynamodb, "retry_deadline_s": 10},
            "elasticsearch": {"url": self.elasticsearch, "retry_deadline_s": 10},
        }


def write_plan(folder: Path, stores: Stores, database: str, routes: Mapping[str, Any], **keys: Any) -> Path:
    """Write a plan of these routes, its state beside it, and return its path."""
    used = {route.get("target") or _target(route["use_case"]) for route in routes.values()}
    plan = {
        "source": {"uri": stores.mongodb, "database": database, "retry_deadline_s": 10},
        "state": f"sqlite:///{folder / 'state.db'}",
        "targets": {name: keys_ for name, keys_ in stores.targets().items() if name in used},
        "routes": dict(routes),
        **keys,
    }
    path = folder / "plan.yaml"
    path.write_text(yaml.safe_dump(plan), encoding="utf-8")
    return path


def _target(use_case: str) -> str:
    return {"entity": "dynamodb", "search": "elasticsearch", "log": "elasticsearch"}.get(use_case, "redis")


def start(*arguments: str | Path, folder: Path, environment: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """Start the command line in a folder of the test's own."""
    return subprocess.Popen(
        [sys.executable, "-m", "flows.cli.main", *map(str, arguments)],
        cwd=folder,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@dataclass(frozen=True)
class Finished:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed, which is JSON and nothing else."""
        return json.loads(self.out)

    def route(self, name: str) -> Any:
        """The report's row of a route."""
        return next(route for route in self.json["routes"] if route["route"] == name)


def offramp(*arguments: str | Path, folder: Path, environment: Mapping[str, str] | None = None) -> Finished:
    """Run the command line to its end within this process: starting Python and its imports takes longer than most."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["offramp", *map(str, arguments)])
        for name, value in (environment or {}).items():
            patch.setenv(name, value)
        with pytest.raises(SystemExit) as ended:  # noqa: PT012 - it returns where all went well
            main()
            sys.exit(0)
    return _judged(Finished(int(ended.value.code or 0), out.getvalue(), err.getvalue()))


def offramp_process(*arguments: str | Path, folder: Path, environment: Mapping[str, str] | None = None) -> Finished:
    """Run the command line to its end as a process, for what an environment or a way to end does to one."""
    process = start(*arguments, folder=folder, environment=environment)
    out, err = process.communicate(timeout=RUN_LIMIT_S)
    return _judged(Finished(process.returncode, out, err))


def _judged(finished: Finished) -> Finished:
    """Return the command, whose codes end as `offramp explain` says that they do."""
    assert contradictions(finished.code, finished.out, finished.err) == []
    return finished
