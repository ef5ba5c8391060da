"""A plan that was read and checked."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from bson import json_util

from flows.plan.own_mapper import MapFunction
from flows.plan.plan_keys import Fields, RejectKeys, RouteKeys, RunKeys, VerificationKeys
from flows.plan.validation import unknown
from mappers.contract import Losses, MapperType, declarations, option_declarations
from mappers.transforms.fields import Drop, Select
from mappers.transforms.steps import Transformation, compose
from mappers.transforms.transform import Transform
from stores.contract.source import Source
from stores.contract.target import Target, TargetType
from stores.errors import PlanError, redacted
from stores.mongodb.configuration import Connection as SourceConnection
from stores.mongodb.database import MongoDB


def is_plain(route: Route) -> bool:
    """Return whether the route writes `_id` without its type; the user's own mapper never does."""
    return option_declarations(route.options).id_encoding == "plain"


_FORMER_DIGEST = "sha256:"
"""What a digest in a state of an earlier release begins with."""
PROJECTION = 1
"""The number grows when a release maps a document to another record; that release resumes no older run (R137)."""


@dataclass(frozen=True)
class Route:
    """A route of one collection to one target, checked and ready to open."""

    name: str
    collection: str
    target_name: str
    target_type: TargetType
    connection: Any
    placement: Any
    mapper_name: str
    """The mapper's name, or `use` as written."""
    mapper_type: MapperType | None
    options: Any
    function: MapFunction | None
    """The user's own mapper, its options bound."""
    digest: str
    keys: RouteKeys
    where: Mapping[str, Any]
    sealed: frozenset[str]
    """Names of values from the environment that may be secret: a fingerprint has only their digests (R145)."""
    database: str = ""
    """The source's database, which `load` fills in."""

    def source(self, database: MongoDB) -> Source:
        """Return the route's documents."""
        return database.source(self.collection, self.where)

    def target(self) -> Target[Any]:
        """Return the route's target, not connected yet."""
        return self.target_type(self.connection, self.placement, self.name)

    def mapper(self, losses: Losses) -> MapFunction:
        """Return the route's mapper, counting what it loses."""
        if self.function is not None:
            return self.function
        assert self.mapper_type is not None  # noqa: S101 - a route has one or the other
        return self.mapper_type(self.options, self.name, losses)

    @property
    def one_record(self) -> bool:
        """Whether each document that is not rejected has exactly one record, for as long as nothing expires."""
        one = self.function is None and declarations(self.mapper_type).one_record
        return one and not any(transform.splits for transform in self.keys.transforms)

    def transformation(self, losses: Losses) -> Transformation:
        """Return what `fields` and then `transforms` do to each document before its mapper, counting what they lose."""
        fields = self.keys.fields
        keep: list[Transform] = [Select(fields.keep)] if fields.keep is not None else []
        drop: list[Transform] = [Drop(fields.drop)] if fields.drop else []
        return compose([*keep, *drop, *self.keys.transforms], losses)

    def fingerprint(self, earlier: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return everything that decides which records this route makes and where they go (R137), without secrets.

        What comes from a reference is digested, as in the `earlier` fingerprint if that has a digest of a former kind.
        """

        def sealed(name: str, value: Any, before: Any) -> Any:
            if name not in self.sealed:
                return value
            text = json.dumps(value, sort_keys=True)
            if isinstance(before, str) and before.startswith(_FORMER_DIGEST):
                return f"{_FORMER_DIGEST}{hashlib.sha256(text.encode()).hexdigest()}"
            return _slow_digest(text, json.dumps([self.database, self.collection, self.target_name, name]))

        known = earlier or {}
        known_options = known.get("options") or {}
        return {
            "projection": PROJECTION,
            "database": self.database,
            "collection": self.collection,
            "where": sealed("where", json_util.dumps(self.where, sort_keys=True), known.get("where")),
            "fields.keep": sorted(self.keys.fields.keep) if self.keys.fields.keep is not None else None,
            "fields.drop": sorted(self.keys.fields.drop or ()),
            "transforms": sealed("transforms", _written(self.keys.transforms), known.get("transforms"))
            if self.keys.transforms
            else None,
            "target": self.target_name,
            "server": server_of(self.connection),
            "territory": self.target().territory,
            "placement": _plain(self.placement),
            "mapper": self.mapper_name,
            "mapper file": self.digest,
            "watermark": self.keys.watermark,
            "options": {
                name: sealed(f"options.{name}", value, known_options.get(name))
                for name, value in _plain(self.options).items()
            },
        }


@dataclass(frozen=True, slots=True)
class WrittenPlan:
    """A plan as it is written: what another process needs to load it, and no secret that a reference stands for."""

    text: str
    """The plan as YAML."""
    files: Mapping[str, bytes]
    """The files of the user's own mappers, by the names that the plan gives them."""
    state: str
    """The URL of the state with its references; of an SQLite file the absolute path."""
    readable: Sequence[str] = ()
    """The keys whose secrets anybody can read in the text, each with its line."""


@dataclass(frozen=True)
class Plan:
    """A plan without faults."""

    name: str
    path: Path
    source: SourceConnection
    state: str
    run: RunKeys
    routes: Mapping[str, Route]
    verification: VerificationKeys = VerificationKeys()  # noqa: RUF009 - frozen, so that it can be shared
    rejects: RejectKeys = RejectKeys()  # noqa: RUF009 - frozen, so that it can be shared
    written: WrittenPlan = WrittenPlan("", {}, "")

    def chosen(self, names: Iterable[str]) -> list[Route]:
        """Return the routes of these names, all for none; raises PlanError for a name that is no route."""
        wanted = list(dict.fromkeys(names))
        for name in wanted:
            if name not in self.routes:
                raise PlanError("E-PLAN-ROUTE", f"{self.path}: {name!r}: {unknown(name, self.routes, 'route')}")
        return [self.routes[name] for name in wanted] if wanted else list(self.routes.values())


def digest(fingerprints: Iterable[Mapping[str, Any]]) -> str:
    """Return the SHA-256 of the routes' fingerprints, which names what a report is about."""
    return hashlib.sha256(json.dumps(list(fingerprints), sort_keys=True).encode()).hexdigest()


def left_out(path: str, fields: Fields) -> bool:
    """Return whether the fields that a route takes along do not include this field."""

    def covers(chosen: str) -> bool:
        return path == chosen or path.startswith(f"{chosen}.")

    if fields.keep is not None:
        return not any(covers(chosen) for chosen in (*fields.keep, "_id"))
    return any(covers(chosen) for chosen in fields.drop or ())


def server_of(connection: Any) -> list[str]:
    """Return the server that a connection leads to, without what may change or must stay secret."""
    named = (str(getattr(connection, name, None) or "") for name in ("url", "endpoint", "region"))
    return [redacted(name) for name in named if name]


@cache
def _slow_digest(text: str, salt: str) -> str:
    """Return a digest from which a short secret cannot be guessed at speed (scrypt, RFC 7914).

    The salt follows from the plan, so that every worker makes the same digest, and no two places share one.
    """
    digest = hashlib.scrypt(text.encode(), salt=salt.encode(), n=1 << 12, r=8, p=1, dklen=32)
    return f"scrypt:{digest.hex()}"


def _written(transforms: Iterable[Transform]) -> list[Any]:
    """Return transforms as the plan has them, without keys that have their default."""
    return [{transform.name: _plain(transform.written)} for transform in transforms]


def _plain(value: Any) -> Any:
    """Return a dataclass as plain JSON data without keys that have their default: a new key changes no old plan."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            each.name: _plain(getattr(value, each.name))
            for each in dataclasses.fields(value)
            if each.default is dataclasses.MISSING or getattr(value, each.name) != each.default
        }
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)
