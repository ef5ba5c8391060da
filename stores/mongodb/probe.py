"""What a server can do, tried once each on the user's own server, so that it can be judged by what it does.

Nothing is written. The answers decide nothing: what offramp does follows from the flavour and from its own proofs. A
row that is not as the flavour has it shows that `source.flavour` should be another, or that a table here is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from bson.timestamp import Timestamp
from pymongo.collection import Collection
from pymongo.errors import OperationFailure, PyMongoError
from pymongo.read_concern import ReadConcern
from pymongo.read_preferences import Primary

from mappers.documents.decoding import documents
from stores.mongodb import partitioning
from stores.mongodb.bounds import BY_ID
from stores.mongodb.client import Client
from stores.mongodb.errors import refusal
from stores.mongodb.flavour import BoundWay, Flavour
from stores.mongodb.ids import position_of
from stores.mongodb.ranges import WAY_NAMES, prove

Answer = Literal["yes", "no", "unproven"]
_STREAM_MS: Final = 500


@dataclass(frozen=True, slots=True)
class ProbedAbility:
    """An ability of the server, and what came when it was tried."""

    ability: str
    answer: Answer
    detail: str
    """What the server gave, or its own text."""
    expected: bool | None
    """Whether the flavour has it; None for what nothing depends on."""

    @property
    def differs(self) -> bool:
        """Whether it is not as the flavour has it."""
        return self.expected is not None and self.answer != "unproven" and self.expected != (self.answer == "yes")


@dataclass(frozen=True, slots=True)
class _Trial:
    ability: str
    expected: bool | None
    send: Callable[[], tuple[Answer, str]]


def probe(client: Client, flavour: Flavour, database: str, collection: str) -> Iterator[ProbedAbility]:
    """Yield each ability once it was tried on this collection; raises pymongo's errors of a server that is away."""
    for trial in _trials(client, flavour, database, collection):
        answer: Answer
        try:
            answer, detail = client.ask(trial.send)
        except OperationFailure as error:
            answer, detail = "no", refusal(error)
        except PyMongoError as error:
            answer, detail = "no", f"{type(error).__name__}: the server did not answer"
            client.ask(lambda: client.admin.command("ping"))  # Is it there still?
        # Of another server nothing is known to be missing.
        expected = None if flavour.product == "other" and not trial.expected else trial.expected
        yield ProbedAbility(trial.ability, answer, detail, expected)


def _trials(client: Client, flavour: Flavour, name: str, collection: str) -> Iterator[_Trial]:
    database = client.get_database(name, read_preference=Primary())
    things: Any = database[collection]

    def command(*words: Any, **keys: Any) -> Callable[[], tuple[Answer, str]]:
        return lambda: ("yes", _short(client.admin.command(*words, **keys)))

    def aggregated(pipeline: Sequence[Mapping[str, Any]], **how: Any) -> Callable[[], tuple[Answer, str]]:
        def send() -> tuple[Answer, str]:
            with closing(things.aggregate(pipeline, **how)) as rows:
                return "yes", f"{len(list(rows))} given"

        return send

    yield _Trial("says that it is Amazon DocumentDB (getEngineVersion)", None, command("getEngineVersion"))
    yield _Trial("a UUID of a collection", flavour.collection_uuid or None, lambda: _uuid(database, collection))
    yield _Trial("the size of a collection (collStats)", flavour.statistics, lambda: _size(database, collection))
    yield _Trial(
        "a read in the order of the index on _id", True, lambda: _found(things.find({}, sort=BY_ID, hint=BY_ID))
    )
    majority = things.with_options(read_concern=ReadConcern("majority"))
    yield _Trial("a read of what a majority has", flavour.majority_reads or None, lambda: _found(majority.find({})))
    yield _Trial("a read of a cluster time (causal session)", flavour.causal_reads, lambda: _causal(client, majority))
    ways: Sequence[BoundWay] = ("index", "expression", "brackets")
    for way in ways:
        yield _Trial(
            f"a range of _id: {WAY_NAMES[way]}",
            way in flavour.bound_ways if way == "index" else None,
            lambda way=way: _way(flavour, things, way),  # type: ignore[misc]
        )
    yield _Trial("the use of an index by $expr (explain)", None, lambda: _explained(database, collection))
    yield _Trial("random documents ($sample)", flavour.sample, aggregated(partitioning.sample({}, 2)))
    yield _Trial(
        "a count by type of _id ($group, $type)", True, aggregated([{"$limit": 2}, partitioning.COUNT_BY_TYPE])
    )
    compared = {"$cond": [{"$lt": ["$_id", {"$literal": 0}]}, 0, 1]}
    yield _Trial(
        "comparisons in an aggregation ($cond, $lt, $literal)",
        flavour.expressions,
        aggregated([{"$limit": 2}, {"$group": {"_id": compared, "documents": {"$sum": 1}}}]),
    )
    yield _Trial("allowDiskUse of an aggregation", True, aggregated([{"$limit": 1}], allowDiskUse=True))
    yield _Trial(
        "allowDiskUse of a query",
        flavour.disk_use_on_find,
        lambda: _found(things.find({}, sort=BY_ID, allow_disk_use=True)),
    )
    yield from _streams(flavour, database)
    yield _Trial("the enabled change streams ($listChangeStreams)", None, lambda: _listed_streams(client))
    yield _Trial("the beginning of the oplog", None, lambda: _oplog(client))
    yield _Trial("the oplog in serverStatus", None, lambda: _status(client))


def _streams(flavour: Flavour, database: Any) -> Iterator[_Trial]:
    def opened(stage: Mapping[str, Any], *after: Mapping[str, Any]) -> Callable[[], tuple[Answer, str]]:
        def send() -> tuple[Answer, str]:
            pipeline = [{"$changeStream": dict(stage)}, *after]
            with closing(database.aggregate(pipeline, batchSize=0, maxAwaitTimeMS=_STREAM_MS)) as cursor:
                cursor.try_next()
                token = cursor._post_batch_resume_token
                return "yes", f"a token of nothing: {_form(token)}"

        return send

    yield _Trial("a change stream of the database, opened and closed", flavour.streams, opened({}))
    yield _Trial(
        "earlier states of changed documents (fullDocumentBeforeChange)",
        flavour.streams and flavour.pre_images,
        opened({"fullDocumentBeforeChange": "whenAvailable"}),
    )
    yield _Trial(
        "events of indexes and options (showExpandedEvents)",
        flavour.streams and flavour.expanded_events,
        opened({"showExpandedEvents": True}),
    )
    yield _Trial(
        "large events in parts ($changeStreamSplitLargeEvent)",
        flavour.streams and flavour.split_events,
        opened({}, {"$changeStreamSplitLargeEvent": {}}),
    )


def _found(cursor: Any) -> tuple[Answer, str]:
    with closing(cursor.limit(2)) as rows:
        return "yes", f"{len(list(rows))} given"


def _causal(client: Client, collection: Collection[dict[str, Any]]) -> tuple[Answer, str]:
    with client.start_session(causal_consistency=True) as session:
        for _ in range(2):  # Amazon DocumentDB refuses the second.
            collection.find_one({}, {"_id": 1}, session=session)
        if session.operation_time is None:
            return "no", "the server tells no time of its operations"
        return "yes", "two reads of a session"


def _way(flavour: Flavour, collection: Any, way: BoundWay) -> tuple[Answer, str]:
    def ask(query: Mapping[str, Any]) -> list[bytes]:
        with closing(
            collection.find_raw_batches(**{"projection": {"_id": 1}, "sort": BY_ID, "hint": BY_ID, **query})
        ) as chunks:
            return [position_of(collection.name, raw) for chunk in chunks for raw in documents(chunk)]

    proof = prove(collection.name, replace(flavour, only_way=way), view=False, ask=ask)
    if proof.way is None:
        return "no", proof.left_out[way]
    if not proof.certain:
        return "unproven", "accepted; two documents are needed to prove that it is obeyed"
    unknown = ", ".join(sorted(proof.way.unknown_types))
    return "yes", "obeyed" + (f"; types it does not know: {unknown}" if unknown else "")


def _explained(database: Any, collection: str) -> tuple[Answer, str]:
    where = {"$expr": {"$gte": ["$_id", {"$literal": 0}]}}
    plan = database.command("explain", {"find": collection, "filter": where, "sort": {"_id": 1}, "hint": {"_id": 1}})
    stages = [stage for stage in ("COLLSCAN", "IXONLYSCAN", "IXSCAN", "FETCH") if stage in str(plan)]
    return ("no" if "COLLSCAN" in stages or not stages else "yes"), ", ".join(stages) or "its plan names no stage known"


def _uuid(database: Any, collection: str) -> tuple[Answer, str]:
    info: Mapping[str, Any] = next(iter(database.list_collections(filter={"name": collection})), {})
    return ("yes", "") if info.get("info", {}).get("uuid") is not None else ("no", "listCollections gives none")


def _size(database: Any, collection: str) -> tuple[Answer, str]:
    sizes = database.command("collStats", collection)
    return "yes", f"{sizes.get('count')} documents of about {int(sizes.get('avgObjSize') or 0)} bytes"


def _listed_streams(client: Client) -> tuple[Answer, str]:
    with closing(client.admin.aggregate([{"$listChangeStreams": 1}])) as rows:
        return "yes", f"{len(list(rows))} enabled"


def _oplog(client: Client) -> tuple[Answer, str]:
    first = client.get_database("local", read_preference=Primary())["oplog.rs"].find_one({}, {"ts": 1}) or {}
    return ("yes", "") if isinstance(first.get("ts"), Timestamp) else ("no", "local.oplog.rs has no entry")


def _status(client: Client) -> tuple[Answer, str]:
    status = client.admin.command({"serverStatus": 1, "oplog": 1})
    told = isinstance(status.get("oplog", {}).get("earliestOptime"), Timestamp)
    return ("yes", "") if told else ("no", "serverStatus has no earliestOptime")


def _form(token: Mapping[str, Any] | None) -> str:
    data = (token or {}).get("_data")
    if not isinstance(data, str):
        return "none" if token is None else "of another form"
    return f"begins with {data[:2]}"


def _short(answer: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in answer.items() if isinstance(value, str))
