"""The proxy is the DocumentDB that is known: each line of what the service refuses or answers otherwise is a case."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any

import pytest
from bson import Timestamp
from documentdb_proxy import DocumentDB, documentdb
from documentdb_rules import BEFORE_TOKENS, VERSIONS, Name
from pymongo import MongoClient
from pymongo.errors import ConfigurationError, OperationFailure

Client = MongoClient[dict[str, Any]]
Serve = Callable[..., DocumentDB]
EVERY: tuple[Name, ...] = ("5.0", "8.0", "8.0.1")
OLDER: tuple[Name, ...] = ("5.0", "8.0")


@pytest.fixture
def served(mongodb_url: str) -> Iterator[Callable[..., tuple[DocumentDB, Client]]]:
    """Serve a version, and connect to it."""
    with ExitStack() as running:

        def one(version: Any = "5.0", **how: Any) -> tuple[DocumentDB, Client]:
            server = running.enter_context(documentdb(mongodb_url, version, **how))
            return server, running.enter_context(Client(server.url, retryWrites=False))

        yield one


def code(refused: Callable[[], object]) -> tuple[int | None, str]:
    with pytest.raises(OperationFailure) as error:
        refused()
    return error.value.code, str((error.value.details or {}).get("errmsg"))


Case = Callable[[Any], object]
FIND: Mapping[str, tuple[tuple[Name, ...], Case]] = {
    "min": (OLDER, lambda db: db.command({"find": "c", "min": {"_id": 1}, "hint": {"_id": 1}})),
    "max": (OLDER, lambda db: db.command({"find": "c", "max": {"_id": 1}, "hint": {"_id": 1}})),
    "allowDiskUse": (EVERY, lambda db: db.command({"find": "c", "allowDiskUse": True})),
    "noCursorTimeout": (EVERY, lambda db: db.command({"find": "c", "noCursorTimeout": True})),
    "collation": (("5.0",), lambda db: db.command({"find": "c", "collation": {"locale": "en"}})),
    "collation of a pipeline": (("5.0",), lambda db: db.c.aggregate([], collation={"locale": "en"})),
    "$type of a list": (EVERY, lambda db: db.command({"find": "c", "filter": {"_id": {"$type": ["int", "long"]}}})),
    "afterClusterTime": (
        EVERY,
        lambda db: db.command({"find": "c", "readConcern": {"afterClusterTime": Timestamp(1, 1)}}),
    ),
    "snapshot": (EVERY, lambda db: db.command({"find": "c", "readConcern": {"level": "snapshot"}})),
    "$bsonSize": (OLDER, lambda db: db.c.aggregate([{"$project": {"size": {"$bsonSize": "$$ROOT"}}}])),
    "$binarySize": (OLDER, lambda db: db.c.aggregate([{"$project": {"size": {"$binarySize": "$a"}}}])),
    "$sampleRate": (OLDER, lambda db: db.c.aggregate([{"$match": {"$sampleRate": 0.5}}])),
    "$$REMOVE": (EVERY, lambda db: db.c.aggregate([{"$project": {"a": "$$REMOVE"}}])),
    "$facet": (EVERY, lambda db: db.c.aggregate([{"$facet": {"a": []}}])),
    "$bucketAuto": (EVERY, lambda db: db.c.aggregate([{"$bucketAuto": {"groupBy": "$_id", "buckets": 2}}])),
    "latencyStats": (EVERY, lambda db: db.c.aggregate([{"$collStats": {"latencyStats": {}}}])),
    "type of a collection": (EVERY, lambda db: db.command({"listCollections": 1, "filter": {"type": "view"}})),
    "getParameter": (EVERY, lambda db: db.client.admin.command({"getParameter": 1, "ttlMonitorEnabled": 1})),
    "refreshSessions": (EVERY, lambda db: db.client.admin.command({"refreshSessions": []})),
    "endSessions": (EVERY, lambda db: db.client.admin.command({"endSessions": []})),
    "images before a change": (
        EVERY,
        lambda db: db.command({"create": "d", "changeStreamPreAndPostImages": {"enabled": True}}),
    ),
    "a view": (("5.0",), lambda db: db.command({"create": "v", "viewOn": "c", "pipeline": []})),
    "fullDocumentBeforeChange": (
        EVERY,
        lambda db: db.aggregate([{"$changeStream": {"fullDocumentBeforeChange": "whenAvailable"}}]),
    ),
    "showExpandedEvents": (EVERY, lambda db: db.aggregate([{"$changeStream": {"showExpandedEvents": True}}])),
    "startAfter": (EVERY, lambda db: db.aggregate([{"$changeStream": {"startAfter": {"_data": "0100"}}}])),
    "$changeStreamSplitLargeEvent": (
        EVERY,
        lambda db: db.aggregate([{"$changeStream": {}}, {"$changeStreamSplitLargeEvent": {}}]),
    ),
    "another stage of a stream": (EVERY, lambda db: db.aggregate([{"$changeStream": {}}, {"$unset": "a"}])),
}


@pytest.mark.parametrize("version", EVERY)
@pytest.mark.parametrize("construct", FIND)
def test_a_construct_is_refused_by_the_versions_that_lack_it(
    served: Callable[..., tuple[DocumentDB, Client]], unique: str, construct: str, version: Name
) -> None:
    server, client = served(version)
    refusing, ask = FIND[construct]
    if version not in refusing:
        ask(client[unique])
        assert not server.refused
        client.drop_database(unique)
        return
    number, text = code(lambda: ask(client[unique]))
    assert number in (303, 304)
    assert "not supported" in text
    assert [one.by_driver for one in server.refused] == ([] if construct == "endSessions" else [False])
    server.refused.clear()


ALLOWED: Mapping[str, Case] = {
    "majority": lambda db: db.command({"find": "c", "readConcern": {"level": "majority"}}),
    "hint and sort": lambda db: list(db.c.find().sort("_id", 1).hint([("_id", 1)]).max_await_time_ms(5)),
    "$expr on $literal bounds": lambda db: list(db.c.find({"$expr": {"$gte": ["$_id", {"$literal": 1}]}})),
    "brackets": lambda db: list(
        db.c.find({"$or": [{"_id": {"$type": "int", "$gte": 1}}, {"_id": {"$type": "string"}}]})
    ),
    "not of a type": lambda db: db.c.count_documents({"at": {"$not": {"$type": "date"}}}),
    "$sample": lambda db: list(db.c.aggregate([{"$sample": {"size": 3}}], allowDiskUse=True)),
    "$group": lambda db: list(db.c.aggregate([{"$group": {"_id": {"$type": "$_id"}, "documents": {"$sum": 1}}}])),
    "collStats": lambda db: db.command("collStats", "c"),
    "indexes": lambda db: list(db.c.list_indexes()),
    "a value that looks refused": lambda db: list(
        db.c.find({"$expr": {"$gt": ["$_id", {"$literal": {"$type": ["a", "b"], "x": "$$REMOVE"}}]}})
    ),
}


@pytest.mark.parametrize("construct", ALLOWED)
def test_what_the_service_has_is_answered(
    served: Callable[..., tuple[DocumentDB, Client]], unique: str, construct: str
) -> None:
    server, client = served("5.0")
    client[unique].c.insert_many([{"_id": 1}, {"_id": "a"}])
    ALLOWED[construct](client[unique])
    assert not server.refused
    client.drop_database(unique)


@pytest.mark.parametrize("version", EVERY)
def test_it_says_what_it_is(served: Callable[..., tuple[DocumentDB, Client]], unique: str, version: Name) -> None:
    server, client = served(version)
    admin, known = client.admin, VERSIONS[version]
    assert admin.command("getEngineVersion")["engineVersion"] == known.engine
    assert tuple(admin.command("buildInfo")["versionArray"][:3]) == known.compatible
    hello = admin.command("hello")
    assert (hello["setName"], hello["maxWireVersion"]) == ("rs0", known.wire)
    assert [hello["me"]] == hello["hosts"] == [server.url.split("/")[2]]
    assert "operationTime" in hello
    assert "$clusterTime" not in hello | admin.command("ping")
    assert list(client.local["oplog.rs"].find()) == []
    assert "oplog" not in admin.command("serverStatus")


def test_a_driver_turns_away_from_a_wire_version_that_is_too_old(mongodb_url: str) -> None:
    with (
        documentdb(mongodb_url, "4.0") as server,
        Client(server.url) as client,
        pytest.raises(ConfigurationError, match="wire version 7"),
    ):
        client.admin.command("ping")


def test_a_write_that_is_to_be_retried_is_refused(mongodb_url: str, unique: str) -> None:
    with documentdb(mongodb_url) as server, Client(server.url) as client:
        assert code(lambda: client[unique].c.insert_one({})) == (301, "Retryable writes are not supported")
        server.refused.clear()


def test_a_collection_has_no_uuid_and_no_images(
    served: Callable[..., tuple[DocumentDB, Client]], database: Any
) -> None:
    database.create_collection("things", changeStreamPreAndPostImages={"enabled": True})
    database.create_collection("seen", viewOn="things", pipeline=[])
    for version, names in (("5.0", {"things"}), ("8.0", {"things", "seen"})):
        _, client = served(version)
        listed = {each["name"]: each for each in client[database.name].list_collections()}
        assert {name for name in listed if not name.startswith("system.")} == names
        assert "uuid" not in listed["things"]["info"]
        assert listed["things"]["options"] == {"capped": False, "storageEngine": {"documentDB": {}}}


# --- streams ----------------------------------------------------------------------------------------------------------


class Stream:
    """A stream of a database, read as a driver would, without one's resuming."""

    def __init__(self, database: Any, **how: Any) -> None:
        self.database = database
        self.first = database.command(
            {"aggregate": 1, "pipeline": [{"$changeStream": how}], "cursor": {"batchSize": 0}}
        )["cursor"]

    def more(self) -> Mapping[str, Any]:
        more = {"getMore": self.first["id"], "collection": "$cmd.aggregate", "maxTimeMS": 20}
        answer: Mapping[str, Any] = self.database.command(more)["cursor"]
        return answer

    def events(self, answers: int = 3) -> list[tuple[str, str]]:
        told = [event for _ in range(answers) for event in self.more()["nextBatch"]]
        return [(event["operationType"], event["ns"].get("coll", "")) for event in told]


def test_a_stream_is_refused_until_an_administrator_turns_it_on(
    served: Callable[..., tuple[DocumentDB, Client]], unique: str
) -> None:
    server, client = served("5.0", enabled=False)
    refused = (136, "modifyChangeStreams has not been run for this collection/database/cluster")
    assert code(lambda: Stream(client[unique])) == refused
    on = {"modifyChangeStreams": 1, "database": unique, "enable": True}
    client.admin.command({**on, "collection": "things"})
    assert code(lambda: Stream(client[unique])) == refused  # Of one collection, and not of the database.
    client.admin.command({**on, "collection": ""})
    assert Stream(client[unique]).first["id"]
    listed = list(client.admin.aggregate([{"$listChangeStreams": 1}]))
    assert listed == [{"database": unique, "collection": "things"}, {"database": unique, "collection": ""}]
    server.streams.not_enabled_code = 303
    assert code(lambda: Stream(client[f"{unique}x"]))[0] == 303


def test_only_changes_of_documents_and_drops_are_told(
    served: Callable[..., tuple[DocumentDB, Client]], database: Any
) -> None:
    _, client = served("5.0", empty_answers=0)
    stream = Stream(client[database.name])
    database.create_collection("things")
    database.things.insert_one({"_id": 1})
    database.things.create_index("a")
    database.things.update_one({"_id": 1}, {"$set": {"a": 1}})
    database.things.replace_one({"_id": 1}, {"b": 1})
    database.things.rename("others")
    database.others.delete_one({"_id": 1})
    database.others.drop()
    assert stream.events(12) == [
        *(("insert", "things"), ("update", "things"), ("replace", "things")),
        *(("delete", "others"), ("drop", "others")),
    ]


def test_what_happens_while_streams_are_off_is_told_by_none(
    served: Callable[..., tuple[DocumentDB, Client]], database: Any
) -> None:
    server, client = served("5.0", empty_answers=0)
    stream = Stream(client[database.name])
    database.before.insert_one({})
    server.enable(enable=False)
    database.during.insert_one({})
    server.enable()
    database.after.insert_one({})
    assert [name for _, name in stream.events(12)] == ["before", "after"]


def test_a_new_stream_first_says_that_there_is_nothing(
    served: Callable[..., tuple[DocumentDB, Client]], database: Any
) -> None:
    _, client = served("8.0", empty_answers=2)
    stream = Stream(client[database.name])
    assert "postBatchResumeToken" not in stream.first
    database.things.insert_one({})
    answers = [stream.more() for _ in range(3)]
    assert [len(answer["nextBatch"]) for answer in answers[:2]] == [0, 0]
    assert ["postBatchResumeToken" in answer for answer in answers] == [False, False, True]
    assert answers[2]["nextBatch"]


@pytest.mark.parametrize(("version", "given"), [(BEFORE_TOKENS, False), ("5.0", True), ("8.0", True)])
def test_tokens_are_of_a_form_of_their_own(
    served: Callable[..., tuple[DocumentDB, Client]], database: Any, version: Any, given: bool
) -> None:
    server, client = served(version, empty_answers=0)
    stream = Stream(client[database.name])
    database.things.insert_many([{"_id": 1}, {"_id": 2}])
    answer = stream.more()
    assert ("postBatchResumeToken" in answer) == given
    first = answer["nextBatch"][0]
    assert first["_id"]["_data"].startswith("01")
    again = Stream(client[database.name], resumeAfter=first["_id"])
    assert [event["documentKey"] for event in again.more()["nextBatch"]] == [{"_id": 2}]
    inclusive = Stream(client[database.name], startAtOperationTime=first["clusterTime"])
    assert {"_id": 1} in [event["documentKey"] for event in inclusive.more()["nextBatch"]]
    for malformed in ({"_data": "8200"}, {"_data": 1}):
        assert code(partial(Stream, client[database.name], resumeAfter=malformed))[0] == 9
    now = client.admin.command("ping")["operationTime"]
    server.streams.expire((now.time + 1) << 32)
    assert code(lambda: Stream(client[database.name], resumeAfter=first["_id"]))[0] == 136
    assert code(lambda: Stream(client[database.name], startAtOperationTime=now))[0] == 136


def test_a_long_write_holds_every_stream_up(served: Callable[..., tuple[DocumentDB, Client]], database: Any) -> None:
    server, client = served("5.0", empty_answers=0)
    stream = Stream(client[database.name])
    server.streams.stalled.set()
    database.things.insert_one({})
    assert stream.events() == []
    running = client.admin.command("currentOp")["inprog"]
    assert [one["op"] for one in running if one.get("secs_running", 0) > 10] == ["update"]
    server.streams.stalled.clear()
    assert stream.events() == [("insert", "things")]
    server.tells_operations = False
    assert code(lambda: client.admin.command("currentOp"))[0] == 13


def test_cursors_are_counted_against_the_limit(served: Callable[..., tuple[DocumentDB, Client]], database: Any) -> None:
    database.things.insert_many([{} for _ in range(9)])
    server, client = served("5.0", most_cursors=2)
    things = client[database.name].things
    two = [things.find(batch_size=2) for _ in range(2)]
    for cursor in two:
        next(cursor)
    assert "too many cursors" in code(lambda: next(things.find(batch_size=2)))[1]
    two[0].close()
    assert len(list(things.find(batch_size=2))) == 9
    assert len(server.cursors) == 1
    assert server.most_open == 2
    two[1].close()


# --- what was sent ----------------------------------------------------------------------------------------------------


def test_a_command_that_is_refused_fails_the_block(mongodb_url: str, unique: str) -> None:
    with (
        pytest.raises(AssertionError, match=r"sent to a DocumentDB 5\.0\.0.*'min'"),
        documentdb(mongodb_url) as server,
        Client(server.url) as client,
    ):
        code(lambda: client[unique].command({"find": "c", "min": {"_id": 1}}))
    with documentdb(mongodb_url) as server, Client(server.url) as client:
        server.expect("min")
        code(lambda: client[unique].command({"find": "c", "min": {"_id": 1}}))
        assert [command["find"] for command in server.sent if "min" in command] == ["c"]
