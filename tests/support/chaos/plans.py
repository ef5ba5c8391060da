"""A random plan over random collections."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pymongo.errors import BulkWriteError

from chaos.disturbances import KINDS
from chaos.documents import ID_KINDS, Document, Shape, new_document, new_id
from chaos.readers import Readers
from chaos.routes import FORMS, RouteCase, new_route

STEPS = ("backfill", "sync", "sync", "follow", "verify", "restart", "repair", "takeover", "retry")
"""What may be done after the first backfill."""


@dataclass(frozen=True)
class Scope:
    """What a soak may draw from."""

    targets: Sequence[str] = ("redis", "dynamodb", "elasticsearch")
    runners: Sequence[str] = ("threads", "threads", "threads", "processes")
    most_documents: int = 1500
    disturbances: Sequence[str] = KINDS
    steps: Sequence[str] = STEPS
    most_steps: int = 3
    edit: Callable[[dict[str, Any]], None] = lambda plan: None
    """A change of each plan that the reference does not know: for tests of the judge."""
    meddle: Callable[[Readers, Case], None] = lambda readers, case: None
    """Done to the targets after each command, before the judge reads: for tests of the judge."""


@dataclass(frozen=True)
class Case:
    """The plan of an iteration, its collections and its routes."""

    database: str
    shapes: Mapping[str, Shape]
    routes: Sequence[RouteCase]
    plan: Mapping[str, Any]

    @property
    def targets(self) -> Sequence[str]:
        """The targets that the routes use."""
        return sorted({route.target for route in self.routes})


def new_case(chance: random.Random, scope: Scope, name: str, documents: Mapping[str, int]) -> Case:
    """Return a random valid plan of the collections, given with the number of their documents."""
    targets = {collection: chance.choices(scope.targets, k=chance.choice((1, 1, 2))) for collection in documents}
    shapes = {
        collection: Shape(
            id_kind=chance.choice(ID_KINDS),
            wild_numbers="elasticsearch" not in targets[collection],
            odd_names=chance.random() < 0.5,
            past_expiry="dynamodb" not in targets[collection],
            faulty=chance.choice((0.0, 0.0, 0.0, 0.03)),
            text_bytes=chance.choice((0, 0, 200, 3000)),
        )
        for collection in documents
    }
    routes = [
        new_route(chance, f"r{number}", collection, target, shapes[collection], f"{name}-")
        for number, (collection, target) in enumerate(
            (collection, target) for collection, chosen in targets.items() for target in chosen
        )
    ]
    return Case(name, shapes, routes, _plan(chance, scope, name, routes))


def _plan(chance: random.Random, scope: Scope, name: str, routes: Sequence[RouteCase]) -> Mapping[str, Any]:
    used = {route.target for route in routes}
    deadline = {"retry_deadline_s": chance.choice((15, 30))}
    rate = {"max_rate": chance.choice((150, 400, 1000))} if chance.random() < 0.6 else {}
    connections: Mapping[str, Mapping[str, Any]] = {
        "redis": {"url": "${SOAK_REDIS}", **deadline, **rate},
        "dynamodb": {"region": "eu-west-1", "endpoint": "${SOAK_DYNAMODB}", **deadline, **rate},
        "elasticsearch": {"url": "${SOAK_ELASTICSEARCH}", "api_key": "${SOAK_API_KEY}", **deadline, **rate},
    }
    assert used <= FORMS.keys()
    return {
        "name": name,
        "source": {"uri": "${SOAK_MONGODB}", "database": name, **deadline},
        "targets": {target: connections[target] for target in sorted(used)},
        "run": {
            "runner": chance.choice(scope.runners),
            "workers": chance.randrange(1, 4),
            "window": chance.randrange(1, 6),
            "lease_s": 5,
        },
        "routes": {route.name: dict(route.keys) for route in routes},
    }


def fill(chance: random.Random, readers: Readers, case: Case, documents: Mapping[str, int]) -> None:
    """Make the collections in the source."""
    database = readers.mongodb[case.database]
    for name, number in documents.items():
        database.create_collection(name, changeStreamPreAndPostImages={"enabled": True})
        shape = case.shapes[name]
        made: list[Document] = [
            new_document(chance, shape, new_id(chance, shape.id_kind, at), 0) for at in range(number)
        ]
        for first in range(0, number, 500):
            try:
                database[name].insert_many(made[first : first + 500], ordered=False)
            except BulkWriteError as error:
                if any(each["code"] != 11000 for each in error.details["writeErrors"]):
                    raise
