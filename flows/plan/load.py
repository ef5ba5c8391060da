"""The plan: which collection goes where and how, checked as a whole before anything is written."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.plan import plugins
from flows.plan.cluster_address import address_fault
from flows.plan.model import Plan, Route, WrittenPlan
from flows.plan.own_files import OwnFiles
from flows.plan.plan_keys import PlanKeys
from flows.plan.plugins import PluginError
from flows.plan.routes import checked_route
from flows.plan.secret_values import open_texts, readable_keys, secret_values
from flows.plan.validation import checked
from flows.plan.yaml_file import PlanFile, Where, read
from stores.masking import conceal
from stores.mongodb.configuration import uri_fault

_SECRET_VARIABLES = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "PREFECT_API_KEY", "PREFECT_API_AUTH_STRING")
"""What libraries take from the environment by themselves."""


def load(
    path: Path,
    environment: Mapping[str, str] | None = None,
    text: str | None = None,
    files: OwnFiles | None = None,
) -> Plan:
    """Return the plan in the file; raises PlanError with all its faults, each with its line, and writes nothing.

    With `text` that is the plan, it is not read, and the path says only beside what its state and reports are. The
    plan names `files`, those beside its path unless given.
    """
    environment = os.environ if environment is None else environment
    file = read(path, environment, text, files)
    _conceal(file, environment)
    keys = checked(PlanKeys, file.value, (), file)
    if keys is None:
        _check_parts(file)
        raise file.error()
    if text := uri_fault(keys.source.uri, files=False):
        file.fault(("source", "uri"), text)
    if keys.run.address is not None and (why := address_fault(keys.run.address, keys.state)):
        file.fault(("run", "address"), why)
    if not keys.routes:
        file.fault(("routes",), "is empty; write at least one route")
    connections = {name: _connection(name, raw, file) for name, raw in keys.targets.items()}
    routes = {name: checked_route(name, raw, connections, file) for name, raw in keys.routes.items()}
    _check_territories(routes, file)
    if file.faults:
        raise file.error()
    return Plan(
        name=keys.name or path.stem,
        path=path,
        source=keys.source,
        state=_beside(path, keys.state),
        run=keys.run,
        rejects=keys.rejects,
        verification=keys.verification,
        routes={
            name: dataclasses.replace(route, database=keys.source.database)
            for name, route in routes.items()
            if route is not None
        },
        written=WrittenPlan(file.text, file.own_files.contents, _sendable(path, keys.state, file), readable_keys(file)),
    )


@dataclass(frozen=True, slots=True)
class StatePlace:
    """Where the state of a plan is."""

    name: str
    """The plan's name."""
    path: Path
    """The plan's file."""
    state: str
    """The URL of the state."""


def load_state_place(path: Path, environment: Mapping[str, str] | None = None) -> StatePlace:
    """Return where the state of the plan in the file is; other keys may be at fault, or have no value here.

    Raises PlanError for what is no YAML, and for a fault of `name` or `state`.
    """
    file = read(path, os.environ if environment is None else environment)
    _conceal(file, os.environ if environment is None else environment)
    keys = file.value if isinstance(file.value, Mapping) else {}
    values: dict[str, Any] = {}
    for key, default in (("name", path.stem), ("state", PlanKeys.state)):
        values[key] = keys.get(key) or default
        if file.is_unfilled((key,)) or not isinstance(values[key], str):
            file.fault((key,), f"found {file.shown((key,), values[key])}; allowed: text; put it in quotes")
            raise file.error()
    return StatePlace(values["name"], path, _beside(path, values["state"]))


def fill_state_url(path: Path, written: str, environment: Mapping[str, str] | None = None) -> str:
    """Return the URL of a state with its references filled in; the path is that of its plan, for messages.

    Raises PlanError for a reference without a value.
    """
    environment = os.environ if environment is None else environment
    file = read(path, environment, json.dumps({"state": written}))
    if file.faults:
        raise file.error()
    _conceal(file, environment)
    return str(file.value["state"])


def _conceal(file: PlanFile, environment: Mapping[str, str]) -> None:
    secrets = [*secret_values(file), *(environment[name] for name in _SECRET_VARIABLES if name in environment)]
    conceal(secrets, open_texts(file))


def _sendable(path: Path, state: str, file: PlanFile) -> str:
    """Return the state's URL for another process: as it is written, but for an SQLite file its absolute path."""
    whole = _beside(path, state)
    return whole.replace("${", "$${") if state.startswith("sqlite") else file.written.get(("state",), state)


def _beside(path: Path, state: str) -> str:
    """Return the state's URL with a relative file taken from the plan's folder, so that any working folder will do."""
    scheme, slashes, file = state.partition(":///")
    return f"{scheme}{slashes}{path.absolute().parent / file}" if slashes and scheme.startswith("sqlite") else state


def _check_parts(file: PlanFile) -> None:
    """Note the faults of targets and routes even where other keys of the plan are at fault."""
    value = file.value if isinstance(file.value, Mapping) else {}
    targets, routes = value.get("targets"), value.get("routes")
    connections = (
        {name: _connection(name, raw, file) for name, raw in targets.items()} if isinstance(targets, Mapping) else {}
    )
    for name, raw in routes.items() if isinstance(routes, Mapping) else ():
        checked_route(name, raw, connections, file)


def _connection(name: str, raw: Any, file: PlanFile) -> Any:
    where: Where = ("targets", name)
    try:
        kind = plugins.target_type(name)
    except PluginError as error:
        file.fault(where, str(error))
        return None
    return checked(kind.Connection, {} if raw is None else raw, where, file)


def _overlap(first: str, second: str) -> bool:
    """Return whether a record may be in both territories: of each two parts, one begins with the other."""
    parts = zip(first.split("\x01"), second.split("\x01"), strict=False)
    return all(a.startswith(b) or b.startswith(a) for a, b in parts)


def _check_territories(routes: Mapping[str, Route | None], file: PlanFile) -> None:
    """Note a fault of two routes that write to the same place: each would take the other's records for extras."""
    claimed: dict[str, str] = {}
    for name, route in routes.items():
        if route is None:
            continue
        territory = f"{route.target_name} {route.target().territory}"
        for other, taken in claimed.items():
            if _overlap(territory, taken):
                file.fault(
                    ("routes", name),
                    f"writes in {route.target_name} where route {other!r} (line {file.lines['routes', other]}) writes;"
                    " give each its own place, so that neither's name begins with the other's",
                )
        claimed[name] = territory
