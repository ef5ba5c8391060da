"""What is read after a time was advanced to is of that time or later, and any documents are fetched by their ids."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import bson
import pytest
from bson import Timestamp
from mongodbs import EACH_SOURCE, MIXED_IDS, Documents, failing

from flows.demo import servers
from mappers.documents.decoding import position
from stores.contract.source import Partition
from stores.errors import PermanentError, TransientError
from stores.mongodb.collection import CollectionSource
from stores.mongodb.configuration import Limits
from stores.mongodb.database import MongoDB
from stores.mongodb.times import as_int, timestamp

Sources = Callable[..., CollectionSource]
Sent = list[Mapping[str, Any]]


def at(own: Any) -> bytes:
    return bson.encode({"_id": own})


def test_every_read_after_advancing_is_causally_of_that_time(
    database: Documents, opened: Callable[..., MongoDB], sent: Sent
) -> None:
    database.things.insert_many([{"_id": own} for own in range(10)])
    mongo = opened(database.name, limits=Limits(batch_documents=3))
    begun, one = mongo.changes().begin().time, mongo.source("things", {"_id": {"$gte": 0}})
    one.check()
    one.count_by_type()
    sent.clear()
    one.advance(begun)
    one.advance(begun - 1)  # Never back.
    with failing(database, 1, "getMore", errorCode=43):
        assert len([raw for batch in one.read(Partition(0)) for raw in batch.documents]) == 10
    one.check()
    one.count_by_type()
    one.split(3)
    one.middle(Partition(0), at(1), 1)
    one.fetch([at(own) for own in range(5)])
    reads = [command for command in sent if "find" in command or "aggregate" in command]
    assert len(reads) >= 2 + 2 + 1 + 1 + 1 + 2
    for command in reads:
        assert command["readConcern"]["level"] == "majority"
        assert command["readConcern"]["afterClusterTime"] >= timestamp(begun)


def test_a_time_is_what_a_cluster_has(database: Documents) -> None:
    assert timestamp(as_int(Timestamp(7, 9))) == Timestamp(7, 9)
    assert timestamp(as_int(Timestamp(2**32 - 1, 2**32 - 1))) == Timestamp(2**32 - 1, 2**32 - 1)


def test_readers_in_several_threads_do_not_share_a_session(database: Documents, source: Sources, sent: Sent) -> None:
    database.things.insert_many([{"_id": own} for own in range(10)])
    one = source("things")
    one.advance(1 << 32)
    meeting = threading.Barrier(3)

    def reading() -> None:
        batches = one.read(Partition(0))
        next(batches)
        meeting.wait(20)  # Each holds an open cursor.
        assert not list(batches)

    threads = [threading.Thread(target=reading) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sessions = [command["lsid"]["id"] for command in sent if "find" in command]
    assert len(set(sessions)) == 3


def test_a_standalone_server_cannot_be_advanced(tmp_path: Path, opened: Callable[..., MongoDB]) -> None:
    with servers.mongodb(tmp_path / "standalone", "--standalone") as url:
        database = opened("shop", url)
        database._client.shop.things.insert_one({})
        with pytest.raises(PermanentError) as told:
            database.source("things").advance(1 << 32)
        assert told.value.code == "E-SRC-STANDALONE"
        streaming = database.source("things").streaming()
        assert not streaming.possible
        assert "standalone" in streaming.reason
        database.close()


# --- fetching ---------------------------------------------------------------------------------------------------------


def fetched(one: CollectionSource, ids: Sequence[bytes]) -> list[bytes]:
    found = [position(raw) for raw in one.fetch(ids)]
    return sorted(own for own in found if own is not None)


@EACH_SOURCE
def test_documents_are_fetched_by_ids_of_every_type(database: Documents, source: Sources) -> None:
    database.things.insert_many([{"_id": own, "v": "x"} for own in MIXED_IDS])
    wanted = [at(own) for own in MIXED_IDS]
    assert fetched(source("things"), wanted) == sorted(wanted)
    for own in wanted:
        assert fetched(source("things"), [own]) == [own]
    assert fetched(source("things"), [at("absent"), at(2), *wanted[3:5]]) == sorted(wanted[3:5])
    assert source("things").fetch([]) == []


@EACH_SOURCE
def test_a_document_whose_id_compares_equal_is_told_by_its_bytes(database: Documents, source: Sources) -> None:
    database.things.insert_one({"_id": 1.0})
    assert fetched(source("things"), [at(1)]) == [at(1.0)]
    assert fetched(source("things"), [at(1), at(1.0)]) == [at(1.0)]


@EACH_SOURCE
def test_only_what_the_filter_lets_through_is_fetched(database: Documents, source: Sources) -> None:
    database.things.insert_many([{"_id": own, "live": own % 2 == 0} for own in range(6)])
    one = source("things", {"live": True})
    assert fetched(one, [at(own) for own in range(6)]) == sorted(at(own) for own in (0, 2, 4))
    database.things.update_one({"_id": 2}, {"$set": {"live": False}})
    assert fetched(one, [at(2), at(4)]) == [at(4)]


def test_any_number_of_ids_of_any_size_is_fetched_by_queries_that_a_server_takes(
    database: Documents, source: Sources, sent: Sent
) -> None:
    database.things.insert_many([{"_id": own} for own in range(2_500)])
    assert len(source("things").fetch([at(own) for own in range(3_000)])) == 2_500
    shares = [len(command["filter"]["_id"]["$in"]) for command in sent if "find" in command]
    assert shares == [1000, 1000, 1000]
    sent.clear()
    long = [f"{own}{'x' * 400}" for own in range(5)] + ["y" * 5_000, "z"]
    database.things.insert_many([{"_id": own} for own in long])
    short = source("things", limits=Limits(query_bytes=1000))
    assert fetched(short, [at(own) for own in long]) == sorted(at(own) for own in long)
    assert [len(command["filter"]["_id"]["$in"]) for command in sent if "find" in command] == [2, 2, 1, 1, 1]


@EACH_SOURCE
def test_fetching_is_tried_again_and_gives_no_document_twice(database: Documents, source: Sources) -> None:
    database.things.insert_many([{"_id": own} for own in range(2_000)])
    wanted = [at(own) for own in range(2_000)]
    for commands in (["find"], ["getMore"]):
        with failing(database, 3, *commands, errorCode=43):
            assert fetched(source("things"), wanted) == sorted(wanted)
    with failing(database, 1_000_000, "find", errorCode=43), pytest.raises(TransientError):
        source("things", retry_deadline_s=0.3).fetch(wanted)
    with failing(database, 1, "find", errorCode=13), pytest.raises(PermanentError):
        source("things").fetch(wanted)


def test_a_view_is_fetched_from_too(database: Documents, source: Sources) -> None:
    database.things.insert_many([{"_id": own, "live": own > 1} for own in range(4)])
    database.create_collection("seen", viewOn="things", pipeline=[{"$match": {"live": True}}])
    assert fetched(source("seen"), [at(own) for own in range(4)]) == sorted([at(2), at(3)])
