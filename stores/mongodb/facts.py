"""What a report says of the source: its version, its time, and what it enforces that no target does."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bson import Timestamp
from pymongo import MongoClient
from pymongo.errors import OperationFailure


@dataclass(frozen=True, slots=True)
class Facts:
    """What a MongoDB says of itself."""

    version: str = ""
    cluster_time: str = ""
    """The time of its latest operation: the moment, then seconds and number as MongoDB counts; "" where it has none."""
    unique_indexes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """By collection, the names of its unique indexes but the one of `_id`."""


def facts(client: MongoClient[dict[str, Any]], database: str, collections: Iterable[str]) -> Facts:
    """Return what the server says; raises pymongo's errors."""
    return Facts(
        version=str(client.admin.command("buildInfo").get("version", "")),
        cluster_time=_time(client.admin.command("hello").get("operationTime")),
        unique_indexes={name: _unique(client, database, name) for name in dict.fromkeys(collections)},
    )


def _unique(client: MongoClient[dict[str, Any]], database: str, collection: str) -> list[str]:
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
