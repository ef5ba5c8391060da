"""A plan in the state of its run, from which a worker on any machine loads it again.

A worker needs the package, the URL of the state and the environment that the plan asks for. It refuses to work where
any of them makes another plan of the text than the run has.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

from flows.connect.plan_changes import changed_keys
from flows.connect.stores import open_source, open_state_at, with_design
from flows.plan import plugins
from flows.plan.load import fill_state_url, load
from flows.plan.model import Plan, Route
from flows.plan.own_files import FilesInMemory
from stores.contract.target import Identified
from stores.errors import PermanentError, PlanError
from stores.state.database import backend
from stores.state.partitions import RouteState
from stores.state.plans import digest_of
from stores.state.state import State

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RegisteredPlan:
    """Which plan a worker is to load, as plain values: none of them is secret, and they may go to any machine."""

    state: str
    """The URL of the state, with its references as they are written in the plan; of an SQLite file the path."""
    name: str
    """The plan's name."""
    digest: str
    """The digest under which the version of the plan is in the state."""
    release: str
    """The release of offramp that registered it."""
    lease_s: float
    """How long a lease of the plan lasts."""


def register_plan(plan: Plan, state: State) -> RegisteredPlan | None:
    """The plan is on record in the state as it is written, with the files of its mappers; returns what workers need.

    Returns None, and leaves the state as it was, for a plan in whose text a secret can be read.
    """
    if plan.written.readable:
        return None
    fingerprints = {name: _as_bytes(route.fingerprint()) for name, route in plan.routes.items()}
    text = plan.written.text.encode()
    manifest = {
        "file": plan.path.name,
        "text": digest_of(text),
        "files": {name: digest_of(content) for name, content in plan.written.files.items()},
        "routes": {name: digest_of(fingerprint) for name, fingerprint in fingerprints.items()},
        "versions": {name: _version(name) for name in _distributions(plan)},
    }
    contents = [text, *plan.written.files.values(), *fingerprints.values()]
    digest = state.plans.register(_as_bytes(manifest), contents)
    return RegisteredPlan(plan.written.state, plan.name, digest, _version(plugins.DISTRIBUTION), plan.run.lease_s)


@contextmanager
def open_registered(
    registered: RegisteredPlan, route: str, environment: Mapping[str, str] | None = None
) -> Iterator[Plan]:
    """Give the plan as its run has it, loaded from the state by this environment, for work on the route.

    The state stays open for the length of the body. Raises PermanentError E-WORKER-PLAN, before anything is written,
    where this worker would make another plan of it: a variable is missing, the records of the route would be others,
    its collection or its place in the target is not the run's, or the releases differ. Raises also what opening the
    stores raises.
    """
    _refuse_other_version(plugins.DISTRIBUTION, registered.release)
    url = _loadable(lambda: fill_state_url(Path(registered.name), registered.state, environment))
    with closing(backend(url)) as database:
        there = database.exists()
    if not there:
        raise _unfit(f"there is no state at {registered.state}; it must be the same on every machine that works")
    with open_state_at(url, registered.name, registered.lease_s) as state:
        plan = _load(registered, route, state, url, environment)
        _refuse_other_stores(plan, plan.routes[route], state)
        yield plan


def _load(
    registered: RegisteredPlan, route: str, state: State, url: str, environment: Mapping[str, str] | None
) -> Plan:
    manifest = json.loads(_content(state, [registered.digest])[registered.digest])
    for name, version in manifest["versions"].items():
        _refuse_other_version(name, version)
    wanted = [manifest["text"], *manifest["files"].values(), manifest["routes"][route]]
    contents = _content(state, wanted)
    files = FilesInMemory(
        {name: contents[digest] for name, digest in manifest["files"].items()}, f"state of {registered.name}"
    )
    text = contents[manifest["text"]].decode()
    plan = _loadable(lambda: load(Path(manifest["file"]), environment, text, files))
    plan = replace(plan, name=registered.name, state=url)
    here = json.loads(_as_bytes(plan.routes[route].fingerprint()))
    if changes := changed_keys(json.loads(contents[manifest["routes"][route]]), here):
        raise _unfit(
            f"route {route} would get other records or another place than in the run: {'; '.join(changes)}. Give the"
            " worker the environment of the run"
        )
    return plan


def _content(state: State, digests: Sequence[str]) -> Mapping[str, bytes]:
    found = state.plans.contents(digests)
    if len(found) < len({*digests}):
        raise _unfit(
            "the plan in the state is not what the run registered: it was deleted or altered; run the same command"
            " again, which registers it anew"
        )
    return found


def _refuse_other_version(distribution: str, version: str) -> None:
    here = _version(distribution)
    if here != version:
        raise _unfit(
            f"the run has {distribution} {version or 'not installed'}, this worker {here or 'none'}; install"
            f" {distribution}=={version} on the worker, or run the same command again with its release"
        )


def _refuse_other_stores(plan: Plan, route: Route, state: State) -> None:
    """Raise PermanentError if this worker's collection or place is not the one from which, or to which, the run copies.

    What a variable or credentials of this machine lead to may have the same names.
    """
    known = state.partitions.route(route.name)
    if known is None:
        return
    with open_source(plan) as database:  # An identity of "" is that of a server that cannot say.
        if known.source_identity and route.source(database).identity() != known.source_identity:
            raise _unfit(
                f"route {route.name}: the collection {route.collection!r} here is not the run's: the source of this"
                " worker is another, or the collection was made anew; give the worker the run's source"
            )
    target = with_design(route.target(), state.designs.get(route.name))
    with closing(target):
        if (
            isinstance(target, Identified)
            and known.target_identity
            and _identity(target, known) != known.target_identity
        ):
            raise _unfit(
                f"route {route.name}: its place in {route.target_name} here is not the run's: the address or the"
                " credentials of this worker lead elsewhere, or the place was made anew; give the worker those of the"
                " run"
            )


def _identity(target: Identified, known: RouteState) -> str | None:
    try:
        return target.identity()
    except PlanError:  # It does not fit the plan any more, which the work on it finds and reports.
        return known.target_identity


def _loadable(load_it: Callable[[], T]) -> T:
    try:
        return load_it()
    except PlanError as error:
        first, *rest = error.message.split("\n  ")
        raise _unfit(f"the plan cannot be loaded with the environment of this worker: {first}", rest) from None


def _unfit(reason: str, details: Sequence[str] = ()) -> PermanentError:
    return PermanentError("E-WORKER-PLAN", f"a worker on {socket.gethostname()} cannot do its part: {reason}", details)


def _distributions(plan: Plan) -> Sequence[str]:
    """Return the distributions that bring the targets and mappers of the plan."""
    points = [plugins.available(plugins.TARGETS).get(route.target_name) for route in plan.routes.values()]
    points += [plugins.available(plugins.MAPPERS).get(route.mapper_name) for route in plan.routes.values()]
    return sorted({point.dist.name for point in points if point is not None and point.dist is not None})


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""


def _as_bytes(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True).encode()
