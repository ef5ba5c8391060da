"""What the source's server is and what it can do, decided once per connection and asked by everything in this room.

Servers that speak MongoDB's protocol are not all MongoDB. No other module compares a version, asks a server what it is,
or tries a command to see whether the server knows it: a new ability is a row of the table here, and a property.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from pymongo import MongoClient
from pymongo.errors import OperationFailure

from stores.mongodb.answer_codes import LOGIN_CODE, TRANSIENT_CODES

Product = Literal["mongodb", "documentdb", "other"]
Version = tuple[int, ...]
BoundWay = Literal["index", "expression", "brackets"]
"""How a range of `_id` may be asked for; see `bounds`."""

_NAMES: Mapping[Product, str] = {"mongodb": "MongoDB", "documentdb": "Amazon DocumentDB", "other": "another server"}
_KEY = re.compile(r"(?P<product>mongodb|documentdb|other)(?:-(?P<version>\d+(?:\.\d+){0,2}))?")
_ENGINES: Mapping[int, Version] = {1: (3, 6), 2: (4, 0), 3: (5, 0), 4: (8, 0)}
"""The version of Amazon DocumentDB by the first number of its engine's build, such as 3.0.17983."""
_AWS_HOSTS = ".docdb.amazonaws.com"
_AZURE_HOSTS = ".cosmos.azure.com"
_FERRETDB = "ferretdb"
"""What the keys begin with that FerretDB adds to the answer of buildInfo."""


@dataclass(frozen=True, slots=True)
class _Since:
    """From which version on each product has an ability; None for never."""

    mongodb: Version | None = None
    documentdb: Version | None = None
    other: Version | None = None


_ANY: Final[Version] = (0,)
_ABILITIES: Mapping[str, _Since] = {
    "causal_reads": _Since(mongodb=_ANY),  # DocumentDB: error 303 at the second operation of the session.
    "majority_reads": _Since(mongodb=_ANY, documentdb=_ANY),
    "secondary_reads": _Since(mongodb=_ANY, other=_ANY),  # Without causal reads only the primary is of any time.
    "staleness": _Since(mongodb=_ANY),
    "streams": _Since(mongodb=_ANY, documentdb=(4, 0)),
    "stream_scopes": _Since(documentdb=_ANY),
    "time_tokens": _Since(mongodb=_ANY),
    "reopening_proof": _Since(mongodb=_ANY),
    "pre_images": _Since(mongodb=(6, 0, 0)),
    "expanded_events": _Since(mongodb=(6, 0, 0)),
    "split_events": _Since(mongodb=(6, 0, 9)),
    "schema_events": _Since(mongodb=_ANY),  # DocumentDB: no create, no rename.
    "oplog": _Since(mongodb=_ANY),
    "statistics": _Since(mongodb=_ANY, documentdb=_ANY, other=_ANY),
    "collection_uuid": _Since(mongodb=_ANY, other=_ANY),
    "index_bounds": _Since(mongodb=_ANY, documentdb=(8, 0, 1)),
    "expressions": _Since(mongodb=_ANY, documentdb=_ANY),
    "nan": _Since(mongodb=_ANY, documentdb=_ANY),
    "sample": _Since(mongodb=_ANY, documentdb=_ANY),
    "disk_use_on_find": _Since(mongodb=_ANY),
    "views": _Since(mongodb=_ANY, documentdb=(8, 0), other=_ANY),
}
"""Sources: MongoDB's manual, and for Amazon DocumentDB the tables "Supported MongoDB APIs, operations, and data types"
and "Functional differences" of its developer guide."""
_TOKENS_WITH_EMPTY_ANSWERS: Final[Version] = (3, 0, 11800)
"""The build of Amazon DocumentDB 5.0 from which on an answer without events has a token too."""


@dataclass(frozen=True, slots=True)
class Flavour:
    """What a server is, and one property for each ability that not every server has."""

    product: Product
    version: Version = ()
    """That of its engine: of Amazon DocumentDB (5, 0) or (5, 0, 2); what another server calls itself; () if unknown."""
    build: Version = ()
    """The build of Amazon DocumentDB's engine, such as (3, 0, 17983); () for other products."""
    name: str = ""
    """What another server is, such as FerretDB; "" where it does not say so."""
    replicated: bool = True
    """Whether it is a replica set or a cluster of shards."""
    sharded: bool = False
    """Whether it is a mongos, the router of a cluster of shards."""
    given: bool = False
    """Whether the plan says what it is."""
    only_way: BoundWay | None = None
    """The one way to ask for a range of `_id` that is tried; by default those that it may have."""

    def describe(self) -> str:
        """Return the product and its version for people, such as `Amazon DocumentDB 5.0.2`.

        Of another server only the name: what it calls itself is the version of a MongoDB.
        """
        name = self.name or _NAMES[self.product]
        return name if self.product == "other" or not self.version else f"{name} {'.'.join(map(str, self.version))}"

    @property
    def causal_reads(self) -> bool:
        """Whether a read can be asked to be of a cluster time or later (afterClusterTime)."""
        return self.replicated and self._has("causal_reads")

    @property
    def majority_reads(self) -> bool:
        """Whether a read can be asked to show only what a fail-over keeps."""
        return self.replicated and self._has("majority_reads")

    @property
    def secondary_reads(self) -> bool:
        """Whether a secondary can be asked for documents of a known time or later."""
        return self._has("secondary_reads")

    @property
    def staleness(self) -> bool:
        """Whether a read preference can say how far a secondary may lag (maxStalenessSeconds)."""
        return self.replicated and self._has("staleness")

    @property
    def streams(self) -> bool:
        """Whether it has change streams at all."""
        return self.replicated and self._has("streams")

    @property
    def stream_scopes(self) -> bool:
        """Whether changes are recorded only for databases whose streams were turned on ($listChangeStreams).

        Such a server proves its position by nothing but the times of changes and by silence, and tells no renames.
        """
        return self._has("stream_scopes")

    @property
    def time_tokens(self) -> bool:
        """Whether its resume tokens may tell the cluster time up to which the changes were read."""
        return self._has("time_tokens")

    @property
    def reopening_proof(self) -> bool:
        """Whether a stream opened by a read of a time has got there when it answers that there is nothing (R129)."""
        return self.causal_reads and not self.sharded and self._has("reopening_proof")

    @property
    def empty_answer_tokens(self) -> bool:
        """Whether an answer of a stream without events has a resume token (postBatchResumeToken)."""
        if self.product == "documentdb":
            return self.version >= (8,) or self.build >= _TOKENS_WITH_EMPTY_ANSWERS
        return self.product == "mongodb"

    @property
    def pre_images(self) -> bool:
        """Whether it can keep what documents were before a change (changeStreamPreAndPostImages)."""
        return self._has("pre_images")

    @property
    def expanded_events(self) -> bool:
        """Whether a stream can be asked for events of indexes, options and shards (showExpandedEvents)."""
        return self._has("expanded_events")

    @property
    def split_events(self) -> bool:
        """Whether a stream can give a large event in parts ($changeStreamSplitLargeEvent)."""
        return self._has("split_events")

    @property
    def schema_events(self) -> bool:
        """Whether a stream gives an event when a collection is renamed or made."""
        return self._has("schema_events")

    @property
    def oplog(self) -> bool:
        """Whether it can be asked how far back its changes go (the oplog, or its part of serverStatus)."""
        return self._has("oplog")

    @property
    def statistics(self) -> bool:
        """Whether it says how large a collection is (collStats)."""
        return self._has("statistics")

    @property
    def collection_uuid(self) -> bool:
        """Whether a collection may have a UUID, which tells it from another of the same name."""
        return self._has("collection_uuid")

    @property
    def bound_ways(self) -> Sequence[BoundWay]:
        """The ways to ask for a range of `_id`, best first; which of them it obeys is proven."""
        if self.only_way is not None:
            return (self.only_way,)
        return ("index", "expression", "brackets") if self._has("index_bounds") else ("expression", "brackets")

    @property
    def expressions(self) -> bool:
        """Whether an aggregation can compare and choose ($cond, $lt, $literal)."""
        return self._has("expressions")

    @property
    def nan(self) -> bool:
        """Whether it can be asked for the number that is none; FerretDB closes the connection at it."""
        return self._has("nan")

    @property
    def sample(self) -> bool:
        """Whether it draws documents at random ($sample)."""
        return self._has("sample")

    @property
    def disk_use_on_find(self) -> bool:
        """Whether a query can be allowed to sort on disk (allowDiskUse of find)."""
        return self._has("disk_use_on_find")

    @property
    def views(self) -> bool:
        """Whether it has views."""
        return self._has("views")

    def _has(self, ability: str) -> bool:
        since: Version | None = getattr(_ABILITIES[ability], self.product)
        # A product given without a version, or one that tells none, counts as the newest.
        return since is not None and (not self.version or self.version >= since)


def key_fault(key: str) -> str:
    """Return why the text is no value of `source.flavour`, as what follows its name in a message; "" if it is one."""
    if _KEY.fullmatch(key):
        return ""
    return f"is {key!r}; write mongodb, documentdb or other, or one of them with a version, such as documentdb-5.0"


def recognise(client: MongoClient[dict[str, Any]], key: str | None, only_way: BoundWay | None = None) -> Flavour:
    """Ask the server what it is; the plan's `source.flavour` overrides its answer.

    Raises pymongo's errors of a server that does not answer or refuses the login.
    """
    hello = client.admin.command("hello")
    build_info = _answer(client, "buildInfo")
    # No other product knows this command: each says that there is none, in words and with a code of its own.
    engine = _answer(client, "getEngineVersion") if key is None or key.startswith("documentdb") else {}
    return replace(decide(hello, build_info, engine, key), only_way=only_way)


def decide(
    hello: Mapping[str, Any], build_info: Mapping[str, Any], engine: Mapping[str, Any], key: str | None
) -> Flavour:
    """Return what a server is by its answers to hello, buildInfo and getEngineVersion, and by the plan's key.

    An answer is empty where the server refused the question.
    """
    sharded = hello.get("msg") == "isdbgrid"
    replicated = sharded or "setName" in hello
    claimed = tuple(int(each) for each in build_info.get("versionArray", ())[:3])
    version, build = _engine_version(str(engine.get("engineVersion", "")))
    hosts = [str(host) for host in hello.get("hosts", ())]
    name = ""
    if any(key_of_answer.startswith(_FERRETDB) for key_of_answer in build_info):
        name = "FerretDB"
    elif any(_AZURE_HOSTS in host for host in hosts):
        name = "Azure Cosmos DB"
    product: Product = "other" if name else "mongodb"
    if build or any(_AWS_HOSTS in host for host in hosts):
        product = "documentdb"
    if key is not None and (match := _KEY.fullmatch(key)) is not None:
        product = _product(match["product"])
        if match["version"] is not None:
            version = claimed = tuple(int(part) for part in match["version"].split("."))
    return Flavour(
        product,
        (version or claimed[:2]) if product == "documentdb" else claimed,
        build if product == "documentdb" else (),
        name if product == "other" else "",
        replicated=replicated,
        sharded=sharded,
        given=key is not None,
    )


def _product(text: str) -> Product:
    for product in _NAMES:
        if product == text:
            return product
    raise ValueError(text)


def _engine_version(text: str) -> tuple[Version, Version]:
    """Return the version and the build that an answer of getEngineVersion tells; both empty for none.

    It is "3.0.17983", or since 5.0.2 and 8.0.2 "5.0.2+3.0.12345".
    """
    before, _, after = text.rpartition("+")
    build = _numbers(after)
    if not build:
        return (), ()
    return _numbers(before) or _ENGINES.get(build[0], ()), build


def _numbers(text: str) -> Version:
    return tuple(int(part) for part in text.split(".")) if re.fullmatch(r"\d+(\.\d+)*", text) else ()


def _answer(client: MongoClient[dict[str, Any]], command: str) -> Mapping[str, Any]:
    """Return the answer, an empty one where the server refuses the command."""
    try:
        return client.admin.command(command)
    except OperationFailure as error:
        if error.code == LOGIN_CODE or error.code in TRANSIENT_CODES:
            raise
        return {}
