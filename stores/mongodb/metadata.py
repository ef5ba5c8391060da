"""What a MongoDB says of one collection: its kind, its indexes, and what may be done with it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import bson
from bson import Timestamp
from pymongo.errors import OperationFailure

from stores.errors import PlanError
from stores.mongodb.client import Client
from stores.mongodb.flavour import Flavour

_NAMES = 20
_AT_ONCE = 16
"""Collections whose indexes are asked for at the same time."""


@dataclass(frozen=True, slots=True)
class CollectionMetadata:
    """What the server says of a collection."""

    database: str
    collection: str
    kind: str
    """collection or view."""
    indexes: Sequence[Mapping[str, Any]]
    capped: bool
    uuid: str
    """"" for servers without."""
    unique_ids: bool
    """Whether the server promises that no two documents share an `_id`."""
    before_images: bool
    """Whether it keeps what documents were before each change."""
    average_bytes: int
    """How large its documents are, 0 where nothing tells."""
    size_bytes: int = 0
    """How large they are together, 0 where nothing tells."""
    collated: bool = False
    """Whether a collation of its own orders its texts."""


def described(client: Client, flavour: Flavour, name: str, collection: str) -> CollectionMetadata:
    """Return what the server says; raises PlanError for a collection that is absent or a time series, else pymongo's.

    `name` is the database's.
    """
    database = client[name]
    # By its name: a database of hundreds of collections is asked once for each route.
    info = next((info for info in database.list_collections(filter={"name": collection})), None)
    if info is None:
        names = [str(each["name"]) for each in database.list_collections()]
        raise PlanError(
            "E-SRC-COLLECTION", f"database {name!r} has no collection {collection!r}; it has: {_shortened_list(names)}"
        )
    kind, options = info.get("type", "collection"), info.get("options", {})
    if kind == "timeseries" or "timeseries" in options:
        raise PlanError(
            "E-SRC-TIMESERIES",
            f"{collection!r} is a time-series collection: its _id is not unique, so its documents cannot be told"
            " apart or proven; copy it into an ordinary collection first",
        )
    uuid = info.get("info", {}).get("uuid") if flavour.collection_uuid else None
    if kind == "view":
        uuid = blake2b(bson.encode(options), digest_size=16).digest()
    sizes: Mapping[str, Any] = {}
    indexes: list[Mapping[str, Any]] = []
    if kind == "collection":
        indexes = list(database[collection].list_indexes())
        if flavour.statistics:
            sizes = database.command("collStats", collection)
    return CollectionMetadata(
        database=name,
        collection=collection,
        kind=kind,
        indexes=indexes,
        capped=bool(options.get("capped")),
        uuid="" if uuid is None else bytes(uuid).hex(),
        unique_ids=kind == "collection" and not flavour.sharded,
        before_images=bool(options.get("changeStreamPreAndPostImages", {}).get("enabled")),
        average_bytes=int(sizes.get("avgObjSize") or 0),
        size_bytes=int(sizes.get("size") or 0),
        collated=options.get("collation", {}).get("locale", "simple") != "simple",
    )


def _shortened_list(collections: Iterable[str]) -> str:
    names = sorted(name for name in collections if not name.startswith("system."))
    more = f" and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
    return (", ".join(names[:_NAMES]) or "none") + more


@dataclass(frozen=True, slots=True)
class Facts:
    """What a MongoDB says of itself."""

    version: str = ""
    cluster_time: str = ""
    """The time of its latest operation: the moment, then seconds and number as MongoDB counts; "" where it has none."""
    unique_indexes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """The names of each collection's unique indexes, except that of `_id`."""
    servers: Sequence[str] = ()
    """Host and port of each of its servers that the client knows, in order."""


def facts(client: Client, database: str, collections: Iterable[str]) -> Facts:
    """Return what the server says; raises pymongo's errors."""
    distinct = list(dict.fromkeys(collections))
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="indexes") as threads:
        unique = list(threads.map(lambda name: _unique(client, database, name), distinct))
    return Facts(
        version=str(client.admin.command("buildInfo").get("version", "")),
        cluster_time=_time(client.admin.command("hello").get("operationTime")),
        unique_indexes=dict(zip(distinct, unique, strict=True)),
        servers=sorted(
            f"{host}:{port}" if port else host for host, port in client.topology_description.server_descriptions()
        ),
    )


def _unique(client: Client, database: str, collection: str) -> list[str]:
    try:
        indexes = [*client[database][collection].list_indexes()]
    except OperationFailure:  # A view has none, and a user who may only read may not be told.
        return []
    return [str(index["name"]) for index in indexes if index.get("unique") and [*index["key"]] != ["_id"]]


def _time(operation: object) -> str:
    if not isinstance(operation, Timestamp):
        return ""
    moment = dt.datetime.fromtimestamp(operation.time, dt.UTC).isoformat(timespec="seconds")
    return f"{moment} ({operation.time}:{operation.inc})"
