"""A random plan over random collections."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pymongo.errors import BulkWriteError

from chaos.disturbances import KINDS
from chaos.documents import ID_KINDS, Document, Shape, new_document, new_id
from chaos.forms import RouteCase
from chaos.readers import Readers
from chaos.routes import new_route
from chaos.stand import Wishes

STEPS = ("backfill", "sync", "sync", "follow", "verify", "restart", "repair", "takeover", "takeover", "retry")
"""What may be done after the first backfill."""
_ENOUGH = 60
"""With fewer documents a filter may leave none, and a census may miss what comes later."""


@dataclass(frozen=True)
class Scope:
    """What a soak may draw from."""

    targets: Sequence[str] = ("redis", "dynamodb", "elasticsearch")
    runners: Sequence[str] = (*("threads",) * 20, *("processes",) * 7, "dask")
    most_documents: int = 1500
    disturbances: Sequence[str] = KINDS
    steps: Sequence[str] = STEPS
    most_steps: int = 3
    opensearch: float = 0.3
    """The share of iterations whose search server is OpenSearch."""
    cluster: bool = False
    """Whether the stand has a cluster of Redis."""
    variants: bool = True
    """Whether servers of an iteration's own and OpenSearch occur."""
    found: Sequence[Document] = ()
    """Documents of real collections."""
    edit: Callable[[dict[str, Any]], None] = lambda plan: None
    """A change of each plan that the reference does not know: for tests of the judge."""
    meddle: Callable[[Readers, Case], None] = lambda readers, case: None
    """Done to the targets after each command, before the judge reads: for tests of the judge."""


@dataclass(frozen=True)
class Case:
    """The plan of an iteration, its collections and its routes."""

    database: str
    sizes: Mapping[str, int]
    shapes: Mapping[str, Shape]
    routes: Sequence[RouteCase]
    wishes: Wishes
    plan: Mapping[str, Any]

    @property
    def targets(self) -> Sequence[str]:
        """The targets that the routes use."""
        return sorted({route.target for route in self.routes})


def new_case(chance: random.Random, scope: Scope, name: str) -> Case:
    """Return a random valid plan of one or two collections."""
    names = ["c0", "c1"][: chance.choice((1, 1, 2))]
    sizes = {collection: int(scope.most_documents * chance.random() ** 2) + 1 for collection in names}
    targets = {collection: chance.choices(scope.targets, k=chance.choice((1, 1, 2))) for collection in sizes}
    shapes = {
        collection: Shape(
            id_kind=chance.choice(ID_KINDS),
            wild_numbers="elasticsearch" not in targets[collection],
            odd_names=chance.random() < 0.5,
            past_expiry="dynamodb" not in targets[collection],
            faulty=chance.choice((0.0, 0.0, 0.0, 0.03)),
            text_bytes=chance.choice((0, 0, 200, 3000)),
            found=scope.found if "elasticsearch" not in targets[collection] else (),
        )
        for collection in sizes
    }
    routes = [
        new_route(
            chance, f"r{number}", collection, target, shapes[collection], f"{name}-", many=sizes[collection] > _ENOUGH
        )
        for number, (collection, target) in enumerate(
            (collection, target) for collection, chosen in targets.items() for target in chosen
        )
    ]
    used = sorted({route.target for route in routes})
    wishes = Wishes()
    if scope.variants:
        own = chance.choice(["mongodb", *used]) if chance.random() < 0.25 else ""
        opensearch = own != "elasticsearch" and chance.random() < scope.opensearch
        cluster = scope.cluster and own != "redis" and "redis" in used and chance.random() < 0.3
        wishes = Wishes("opensearch" if opensearch else "elasticsearch", cluster, own)
    return Case(name, sizes, shapes, routes, wishes, _plan(chance, scope, name, routes, wishes))


def _plan(
    chance: random.Random, scope: Scope, name: str, routes: Sequence[RouteCase], wishes: Wishes
) -> Mapping[str, Any]:
    used = {route.target for route in routes}
    deadline = {"retry_deadline_s": chance.choice((15, 30))}
    rate = {"max_rate": chance.choice((150, 400, 1000))} if chance.random() < 0.6 else {}
    connections: Mapping[str, Mapping[str, Any]] = {
        "redis": {"url": "${SOAK_REDIS}", "cluster": wishes.cluster},
        "dynamodb": {"region": "eu-west-1", "endpoint": "${SOAK_DYNAMODB}", "requests": chance.randrange(1, 9)},
        "elasticsearch": {"url": "${SOAK_ELASTICSEARCH}", "api_key": "${SOAK_API_KEY}", "flavour": wishes.flavour},
    }
    return {
        "name": name,
        "source": {"uri": "${SOAK_MONGODB}", "database": name, **deadline},
        "targets": {target: {**connections[target], **deadline, **rate} for target in sorted(used)},
        "run": {
            "runner": chance.choice(scope.runners),
            "workers": chance.randrange(1, 4),
            "window": chance.randrange(1, 6),
            "lease_s": 5,
        },
        "rejects": {"most": chance.choice((5, 1000, 1000)), "documents": chance.random() < 0.5},
        "routes": {route.name: dict(route.keys) for route in routes},
    }


def fill(chance: random.Random, readers: Readers, case: Case) -> None:
    """Make the collections in the source."""
    database = readers.mongodb[case.database]
    for name, number in case.sizes.items():
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
