"""What kind of sync a collection allows, and what finds changes where none are told."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import bson
import pytest
from mongodbs import EACH_SOURCE, Documents, failing
from scripted_mongodb import Scripted, at, serving, stamp
from waiting import until

from flows.replication.rescan import content, scan
from stores.contract.changes import ChangeBatch, StreamPosition
from stores.contract.source import Partition
from stores.contract.stop import PolledStop
from stores.errors import PermanentError, TransientError
from stores.memory import MemorySource
from stores.mongodb.collection import CollectionSource
from stores.mongodb.configuration import Limits
from stores.mongodb.database import MongoDB
from stores.mongodb.metadata import CollectionMetadata
from stores.mongodb.sync_support import StreamAccess, streaming
from stores.mongodb.watermark import Watermark

Sources = Callable[..., CollectionSource]


# --- whether changes are told -----------------------------------------------------------------------------------------


def test_a_collection_of_a_replica_set_is_streamed(database: Documents, source: Sources) -> None:
    database.create_collection("things")
    told = source("things").streaming()
    assert told.possible
    assert not told.reason
    assert not told.before_images
    assert told.window_s is not None
    assert told.command == (
        f'db.getSiblingDB("{database.name}").runCommand('
        '{"collMod": "things", "changeStreamPreAndPostImages": {"enabled": true}})'
    )
    database.command("collMod", "things", changeStreamPreAndPostImages={"enabled": True})
    told = source("things").streaming()
    assert told.before_images
    assert told.command == ""


def test_a_view_and_a_capped_collection_are_not_streamed(database: Documents, source: Sources) -> None:
    database.things.insert_one({})
    database.create_collection("seen", viewOn="things", pipeline=[])
    database.create_collection("log", capped=True, size=4096)
    for name in ("seen", "log"):
        told = source(name).streaming()
        assert not told.possible
        assert name in told.reason
        assert told.command == ""


def test_a_user_who_may_not_is_told_the_grant(opened: Callable[..., MongoDB]) -> None:
    found = CollectionMetadata(
        *("shop", "things", "collection", (), False, "", True, True),
        average_bytes=0,
    )
    for users, granted in (
        ([{"user": "ann", "db": "staff"}], 'db.getSiblingDB("staff").grantRolesToUser("ann", '),
        ([], 'db.getSiblingDB("admin").grantRolesToUser("USER", '),
    ):
        with serving(Scripted(refusals=[13], users=users)) as server:
            mongo = opened("shop", server.url)
            told = streaming(mongo._client, found, StreamAccess(mongo.changes))
        assert not told.possible
        assert told.command == granted + '[{"role": "read", "db": "shop"}])'


def test_a_server_that_refuses_otherwise_is_told_as_it_is(database: Documents, source: Sources) -> None:
    database.things.insert_one({})
    with failing(database, 1, "aggregate", errorCode=96):
        told = source("things").streaming()
    assert not told.possible
    assert "modifyChangeStreams" not in told.reason  # It is for a DocumentDB.
    assert told.command == ""
    with failing(database, 1_000_000, "aggregate", errorCode=43), pytest.raises(TransientError):
        source("things", retry_deadline_s=0.2).streaming()


def test_the_stream_is_opened_once_for_all_collections_of_a_database(
    database: Documents, opened: Callable[..., MongoDB]
) -> None:
    for name in ("things", "others"):
        database[name].insert_one({})
    mongo = opened(database.name)
    with failing(database, 1, "aggregate", errorCode=96):
        assert not mongo.source("things").streaming().possible
    assert not mongo.source("others").streaming().possible
    assert opened(database.name).source("others").streaming().possible


# --- a scan -----------------------------------------------------------------------------------------------------------


def test_a_scan_tells_changed_new_and_deleted_documents(database: Documents, source: Sources) -> None:
    database.things.insert_many([{"_id": own, "v": 0} for own in range(2_500)])

    def seen() -> dict[bytes, bytes]:
        one = source("things")
        return {own: kept for part in one.split(2) for swept in scan(one, part) for own, kept in swept.seen}

    before = seen()
    assert len(before) == 2_500
    assert seen() == before
    database.things.update_one({"_id": 7}, {"$set": {"v": 0.0}})  # Equal to MongoDB, and yet another value.
    database.things.delete_one({"_id": 8})
    database.things.insert_one({"_id": 9_999})
    after = seen()
    changed = {own for own in before.keys() | after.keys() if before.get(own) != after.get(own)}
    assert changed == {bson.encode({"_id": own}) for own in (7, 8, 9_999)}


def test_a_scan_goes_on_from_a_position() -> None:
    one = MemorySource([{"_id": own} for own in range(10)], batch_documents=3)
    first, *rest = scan(one, Partition(0))
    assert [swept.seen for swept in scan(one, Partition(0), first.batch.position)] == [swept.seen for swept in rest]
    assert first.seen[0] == (bson.encode({"_id": 0}), content(bson.encode({"_id": 0})))
    assert content(bson.encode({"a": 1, "b": 2})) != content(bson.encode({"b": 2, "a": 1}))
    assert len(content(b"")) == 16


# --- a watermark ------------------------------------------------------------------------------------------------------


def day(number: int) -> dt.datetime:
    return dt.datetime(2026, 1, 1, tzinfo=dt.UTC) + dt.timedelta(days=number)


@pytest.fixture
def watermark(database: Documents, opened: Callable[..., MongoDB]) -> Callable[..., Watermark]:
    return lambda *how, **keys: opened(database.name, **keys).watermark("things", *(how or ("changed",)))


def caught_up(marked: Watermark, since: StreamPosition) -> list[ChangeBatch]:
    now = marked.now()
    batches = list(marked.follow({"things": False}, since, until=now))
    assert batches[-1].position.time >= now
    return batches


def ids(batches: Iterable[ChangeBatch]) -> list[Any]:
    return [bson.decode(one.id)["_id"] for batch in batches for one in batch.touched]


@EACH_SOURCE
def test_what_bears_the_mark_or_a_later_date_is_touched(
    database: Documents, watermark: Callable[..., Watermark]
) -> None:
    database.things.insert_many([{"_id": own, "changed": day(own)} for own in range(10)])
    marked = watermark("changed", 86_400)
    since = marked.begin()
    assert ids(caught_up(marked, since)) == [8, 9]  # A day of overlap.
    database.things.update_one({"_id": 3}, {"$set": {"changed": day(11)}})
    database.things.insert_one({"_id": "new", "changed": day(10)})
    database.things.insert_one({"_id": "undated"})
    batches = caught_up(marked, since)
    assert ids(batches) == [8, 9, "new", 3]
    assert ids(caught_up(marked, batches[-1].position)) == ["new", 3]
    notes = " / ".join(marked.check())
    assert "cannot see deletes" in notes
    assert "no date at changed, so changes will be missed, in documents: 1" in notes
    assert "no index begins with changed" in notes
    database.things.create_index([("changed", -1), ("a", 1)])
    assert not any("index" in note for note in watermark().check())
    assert not list(marked.follow({"others": False}, since, until=marked.now()))


@EACH_SOURCE
def test_a_date_in_the_far_future_hides_nothing(database: Documents, watermark: Callable[..., Watermark]) -> None:
    database.things.insert_one({"_id": "far", "changed": dt.datetime(9999, 1, 1, tzinfo=dt.UTC)})
    marked = watermark()
    since = marked.begin()
    position = caught_up(marked, since)[-1].position
    database.things.insert_one({"_id": "now", "changed": dt.datetime.now(dt.UTC)})
    assert ids(caught_up(marked, since))[0] == "now"
    assert ids(caught_up(marked, position))[0] == "now"


@EACH_SOURCE
def test_dates_within_objects_and_arrays_are_marks(database: Documents, watermark: Callable[..., Watermark]) -> None:
    database.things.insert_one({"_id": 1, "log": [{"at": day(1)}, {"at": day(5)}, {"at": "never"}, 7]})
    marked = watermark("log.at", 0)
    since = marked.begin()
    assert ids(caught_up(marked, since)) == [1]
    database.things.insert_many([{"_id": 2, "log": [{"at": [day(4), day(6)]}]}, {"_id": 3, "log": {"at": day(4)}}])
    assert ids(caught_up(marked, since)) == [1, 2]


@EACH_SOURCE
def test_a_collection_without_dates_begins_before_all_of_them(
    database: Documents, watermark: Callable[..., Watermark]
) -> None:
    database.create_collection("things")
    marked = watermark()
    since = marked.begin()
    database.things.insert_one({"_id": 1, "changed": dt.datetime(1905, 1, 1, tzinfo=dt.UTC)})
    first = caught_up(marked, since)
    assert ids(first) == [1]
    assert ids(caught_up(marked, first[-1].position)) == [1]


def test_a_pass_is_causal_survives_a_broken_cursor_and_is_repeated(
    database: Documents,
    watermark: Callable[..., Watermark],
    sent: list[Mapping[str, Any]],
) -> None:
    database.things.insert_many([{"_id": own, "changed": day(own)} for own in range(10)])
    limits = Limits(changed_ids=3, pause_s=0.01)
    marked = watermark("changed", 0, limits=limits)
    everything = StreamPosition(at(1))
    sent.clear()
    with failing(database, 2, "getMore", errorCode=43):
        assert list(dict.fromkeys(ids(caught_up(marked, everything)))) == [*range(10)]
    finds = [command for command in sent if "find" in command]
    assert len(finds) == 3
    assert all(command["readConcern"]["afterClusterTime"] > stamp(at(1)) for command in finds)
    with failing(database, 1, "find", errorCode=13), pytest.raises(PermanentError):
        caught_up(marked, everything)
    with failing(database, 1_000_000, "find", errorCode=43), pytest.raises(TransientError):
        caught_up(watermark("changed", 0, limits=limits, retry_deadline_s=0.2), everything)
    heard: list[Any] = []
    passes = marked.follow({"things": False}, everything, stop=PolledStop(lambda: "late" in heard, every_s=0))

    def told(own: Any) -> bool:
        heard.extend(ids([next(passes)]))
        return own in heard

    until(lambda: told(9), "end of a pass")
    database.things.insert_one({"_id": "late", "changed": day(20)})
    until(lambda: told("late"), "change of a later pass")
    assert not list(passes)
