"""No change is passed over: what was touched, how far the stream has got, and what ends it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import bson
import pytest
from bson import Int64
from bson.raw_bson import RawBSONDocument
from mongodbs import EACH_SOURCE, MIXED_IDS, Documents, failing
from scripted_mongodb import Scripted, at, event, serving, stamp, token
from waiting import until

from flows.demo import servers
from stores.contract.changes import ChangeBatch, StreamPosition
from stores.contract.stop import NEVER, PolledStop
from stores.errors import PermanentError, TransientError
from stores.mongodb.change_stream import DatabaseChanges
from stores.mongodb.configuration import LIMITS, Limits
from stores.mongodb.database import MongoDB
from stores.mongodb.times import as_int

Things = {"things": False}


@pytest.fixture
def changes(database: Documents, opened: Callable[..., MongoDB]) -> DatabaseChanges:
    return opened(database.name).changes()


def caught_up(
    changes: DatabaseChanges, since: StreamPosition, collections: Mapping[str, bool] = Things
) -> list[ChangeBatch]:
    """Return the batches up to now, having seen that the last has got there."""
    now = changes.now()
    batches = list(changes.follow(collections, since, until=now))
    assert batches[-1].position.time >= now or batches[-1].halts
    return batches


def ids(batches: Iterable[ChangeBatch], collection: str = "things") -> list[Any]:
    """Return the `_id`s touched, in order."""
    return [bson.decode(one.id)["_id"] for batch in batches for one in batch.touched if one.collection == collection]


# --- what was touched -------------------------------------------------------------------------------------------------


@EACH_SOURCE
def test_every_kind_of_change_names_its_document_once(database: Documents, changes: DatabaseChanges) -> None:
    database.things.insert_many([{"_id": own} for own in range(5)])
    since = changes.begin()
    database.things.update_one({"_id": 0}, {"$set": {"a": 1}})
    database.things.update_one({"_id": 0}, {"$set": {"a": 2}})
    database.things.replace_one({"_id": 1}, {"b": 1})
    database.things.delete_one({"_id": 2})
    database.things.delete_one({"_id": 3})
    database.things.insert_one({"_id": 3, "again": True})
    database.things.insert_one({"_id": "new"})
    batches = caught_up(changes, since)
    # The stream begins at the last write before it, or at a later time.
    assert [own for own in ids(batches) if own != 4] == [0, 1, 2, 3, "new"]
    assert sum(batch.events for batch in batches) in (7, 8)
    assert all(one.before == () or not one.before for batch in batches for one in batch.touched)


@EACH_SOURCE
@pytest.mark.parametrize("kind", ["insert", "update", "delete"])
def test_ids_are_the_bytes_that_are_stored(database: Documents, changes: DatabaseChanges, kind: str) -> None:
    own = [one for one in (*MIXED_IDS, Int64(5), 6.0) if one == one or kind != "update"]  # It cannot update NaN here.
    if kind != "insert":
        database.things.insert_many([{"_id": one} for one in own])
        database.other.insert_one({})
    since = changes.begin()
    if kind == "insert":
        database.things.insert_many([{"_id": one} for one in own])
    elif kind == "update":
        database.things.update_many({}, {"$set": {"a": 1}})
    else:
        database.things.delete_many({})
    touched = [one.id for batch in caught_up(changes, since) for one in batch.touched]
    assert sorted(touched) == sorted(bson.encode({"_id": one}) for one in own)


@EACH_SOURCE
def test_equal_ids_of_other_types_are_other_documents(database: Documents, changes: DatabaseChanges) -> None:
    since = changes.begin()
    database.things.insert_one({"_id": 1})
    database.things.delete_one({"_id": 1})
    database.things.insert_one({"_id": 1.0})
    touched = [one.id for batch in caught_up(changes, since) for one in batch.touched]
    assert touched == [bson.encode({"_id": 1}), bson.encode({"_id": 1.0})]


def test_a_transaction_ties_and_none_of_it_is_passed_over(database: Documents, opened: Callable[..., MongoDB]) -> None:
    changes = opened(database.name, limits=Limits(changed_ids=2)).changes()
    database.things.insert_one({"_id": "first"})
    since = changes.begin()
    with database.client.start_session() as session, session.start_transaction():
        for own in range(6):
            database.things.insert_one({"_id": own}, session=session)
    batches = caught_up(changes, since)
    assert [own for own in ids(batches) if own != "first"] == [0, 1, 2, 3, 4, 5]
    times = {batch.position.time for batch in batches if batch.touched and ids([batch]) != ["first"]}
    assert len(batches) > 3 > len(times)  # A position in the midst of a tie …
    for number, batch in enumerate(batches):
        rest = caught_up(changes, batch.position)
        assert ids(rest) == ids(batches[number + 1 :])  # … is gone on from within the tie (R112).


def test_other_collections_are_left_out_and_later_ones_followed(database: Documents, changes: DatabaseChanges) -> None:
    since = changes.begin()
    database.other.insert_one({"_id": "other"})
    database.create_collection("things")
    database.things.insert_one({"_id": "mine"})
    database.things.create_index("a", expireAfterSeconds=3600)
    database.client[f"{database.name}x"].things.insert_one({"_id": "another database's"})
    batches = caught_up(changes, since)
    assert ids(batches) == ["mine"]
    assert not any(batch.halts for batch in batches)
    both = caught_up(changes, since, {"things": False, "other": False})
    assert (ids(both), ids(both, "other")) == (["mine"], ["other"])
    database.client.drop_database(f"{database.name}x")


def test_what_documents_were_is_told_only_where_it_is_asked_for(database: Documents, changes: DatabaseChanges) -> None:
    for name in ("things", "other"):
        database.create_collection(name, changeStreamPreAndPostImages={"enabled": True})
        database[name].insert_many([{"_id": 1, "v": 0}, {"_id": 2, "v": 0}])
    database.calm.insert_one({})
    since = changes.begin()
    for name in ("things", "other"):
        database[name].update_one({"_id": 1}, {"$set": {"v": 1}})
        database[name].replace_one({"_id": 1}, {"v": 2})
        database[name].delete_one({"_id": 2})
        database[name].insert_one({"_id": 3})
    batches = caught_up(changes, since, {"things": True, "other": False})
    befores = {
        (one.collection, bson.decode(one.id)["_id"]): [*map(bson.decode, one.before)]
        for batch in batches
        for one in batch.touched
    }
    assert befores == {
        ("things", 1): [{"_id": 1, "v": 0}, {"_id": 1, "v": 1}],
        ("things", 2): [{"_id": 2, "v": 0}],
        ("things", 3): [],
        **{("other", own): [] for own in (1, 2, 3)},
    }


def test_a_change_whose_document_before_is_not_kept_halts(database: Documents, changes: DatabaseChanges) -> None:
    database.things.insert_one({"_id": 1})
    database.calm.insert_one({})
    since = changes.begin()
    database.things.insert_one({"_id": 2})
    assert ids(caught_up(changes, since, {"things": True})) == [2]
    database.things.delete_one({"_id": 1})
    (last,) = caught_up(changes, since, {"things": True})
    assert "changeStreamPreAndPostImages" in last.halts["things"]
    assert not last.touched


# --- positions --------------------------------------------------------------------------------------------------------


@EACH_SOURCE
def test_what_is_written_between_the_beginning_and_the_following_is_told(
    database: Documents, changes: DatabaseChanges
) -> None:
    database.things.insert_one({"_id": "before"})
    since = changes.begin()
    database.things.insert_one({"_id": "after"})
    assert ids(caught_up(changes, since))[-1] == "after"
    assert ids(caught_up(changes, StreamPosition(since.time)))[-1] == "after"


def test_from_each_position_exactly_the_rest_is_told(database: Documents, opened: Callable[..., MongoDB]) -> None:
    changes = opened(database.name, limits=Limits(changed_ids=2)).changes()
    database.calm.insert_one({})
    since = changes.begin()
    database.things.insert_many([{"_id": own} for own in range(9)])
    batches = caught_up(changes, since)
    assert ids(batches) == [*range(9)]
    assert [batch.position.time for batch in batches] == sorted(batch.position.time for batch in batches)
    for number, batch in enumerate(batches):
        assert len(batch.touched) <= 2
        assert ids(caught_up(changes, batch.position)) == ids(batches[number + 1 :])


def test_a_quiet_stream_moves_on_and_proves_it(database: Documents, opened: Callable[..., MongoDB]) -> None:
    changes = opened(database.name, limits=Limits(renew_s=0.0)).changes()
    since = changes.begin()
    following = changes.follow(Things, since, stop=NEVER)
    first = next(following).position
    database.other.insert_many([{} for _ in range(20)])
    now = changes.now()
    for batch in following:
        assert not batch.touched
        if batch.position.time >= now:
            break
    assert batch.position.token != first.token  # Or the token of a quiet collection would fall out of a busy oplog.


@EACH_SOURCE
def test_following_until_a_time_tells_everything_up_to_it(database: Documents, changes: DatabaseChanges) -> None:
    database.calm.insert_one({})
    since = changes.begin()
    written: list[int] = []
    stop = threading.Event()

    def write() -> None:
        # Fewer than the server's oplog has room for.
        while not stop.is_set() and len(written) < 1_000:
            database.things.insert_one({"_id": len(written)})
            written.append(len(written))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for least in (1, 50, 100):
            until(partial(lambda least: len(written) >= least, least), "documents")
            known = len(written)
            assert ids(caught_up(changes, since))[:known] == [*range(known)]
    finally:
        stop.set()
        writer.join()
    assert ids(caught_up(changes, since)) == written


@EACH_SOURCE
def test_a_long_row_of_changes_that_are_not_asked_for_is_no_end(database: Documents, changes: DatabaseChanges) -> None:
    """The server answers that there is nothing in the midst of them; only its token tells that it goes on."""
    position = changes.begin()
    database.noise.insert_many([{"n": number} for number in range(1_500)])
    database.things.insert_many([{"_id": number} for number in range(12)])
    assert sorted(ids(caught_up(changes, position))) == list(range(12))


@EACH_SOURCE
def test_following_ends_when_it_is_told_to(database: Documents, opened: Callable[..., MongoDB]) -> None:
    changes = opened(database.name, limits=Limits(await_ms=10)).changes()
    answers = iter([False] * 6 + [True] * 2)
    assert 0 < len(list(changes.follow(Things, changes.begin(), stop=PolledStop(lambda: next(answers), every_s=0)))) < 6


# --- what ends it -----------------------------------------------------------------------------------------------------


@EACH_SOURCE
def test_a_dropped_collection_halts_and_the_others_go_on(database: Documents, changes: DatabaseChanges) -> None:
    database.calm.insert_one({})
    since = changes.begin()
    database.things.insert_one({"_id": "gone"})
    database.other.insert_one({"_id": 1})
    database.things.drop()
    database.things.insert_one({"_id": "another's"})
    database.other.insert_one({"_id": 2})
    batches = caught_up(changes, since, {"things": False, "other": False})
    assert [batch.halts for batch in batches if batch.halts] == [{"things": "was dropped"}]
    assert ids(batches) == []  # Asked for now, they would look like deletes.
    assert ids(batches, "other") == [1, 2]


def test_renamed_collections_halt_whichever_way(database: Documents, changes: DatabaseChanges) -> None:
    database.things.insert_one({})
    database.others.insert_one({})
    database.calm.insert_one({})
    since = changes.begin()
    database.things.rename("elsewhere")
    database.others.rename("made", dropTarget=True)
    batches = caught_up(changes, since, {"things": False, "made": False})
    halts = {name: why for batch in batches for name, why in batch.halts.items()}
    assert halts == {
        "things": "was renamed to elsewhere",
        "made": "was replaced by others, renamed to its name",
    }


def test_a_collection_replaced_by_an_aggregation_halts(database: Documents, changes: DatabaseChanges) -> None:
    database.things.insert_one({})
    database.others.insert_one({})
    since = changes.begin()
    database.others.aggregate([{"$out": "things"}])
    assert any("things" in batch.halts for batch in caught_up(changes, since))


def test_a_dropped_database_halts_everything_and_the_following_ends(
    database: Documents, changes: DatabaseChanges
) -> None:
    since = changes.begin()
    database.things.insert_one({})
    database.client.drop_database(database.name)
    batches = changes.follow({"things": False, "later": False}, since)
    halts = [batch.halts for batch in batches if batch.halts]
    assert halts == [{"things": "was dropped"}, {"later": "was dropped with its database"}]


@pytest.mark.parametrize("kind", ["shardCollection", "reshardCollection", "somethingNew"])
def test_what_happens_to_a_collection_that_is_not_known_to_be_harmless_halts_it(
    opened: Callable[..., MongoDB], kind: str
) -> None:
    with serving(Scripted(script=[([event("insert", at(999), own=1), event(kind, at(1000))], token(at(1000)))])) as one:
        changes = opened("shop", one.url).changes()
        (batch,) = changes.follow(Things, StreamPosition(at(900)))
        assert set(batch.halts) == {"things"}
        assert not batch.touched


# --- when the stream breaks -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "how",
    [
        pytest.param({"errorCode": 43}, id="the cursor is gone"),
        pytest.param({"closeConnection": True}, id="the connection is gone"),
        pytest.param({"errorCode": 234}, id="the server asks for another try"),
    ],
)
def test_a_stream_that_breaks_is_opened_again_and_nothing_is_lost(
    database: Documents, opened: Callable[..., MongoDB], how: Mapping[str, Any]
) -> None:
    changes = opened(database.name, limits=Limits(changed_ids=2)).changes()
    database.calm.insert_one({})
    since = changes.begin()
    database.things.insert_many([{"_id": own} for own in range(7)])
    following = changes.follow(Things, since, until=changes.now())
    told = [next(following)]
    with failing(database, 3, "getMore", "aggregate", **how):
        database.things.insert_many([{"_id": own} for own in range(7, 9)])
        told += following
        told += caught_up(changes, told[-1].position)
    assert ids(told) == [*range(9)]


@EACH_SOURCE
def test_a_beginning_that_breaks_is_tried_again(database: Documents, changes: DatabaseChanges) -> None:
    with failing(database, 3, "aggregate", errorCode=43):
        assert changes.begin().token


def test_a_source_that_stays_away_ends_in_a_transient_error(tmp_path: Path, opened: Callable[..., MongoDB]) -> None:
    with servers.mongodb(tmp_path / "leaving") as url:
        changes = opened("shop", url, retry_deadline_s=0.5).changes()
        following = changes.follow(Things, changes.begin())
        next(following)
    with pytest.raises(TransientError):
        list(following)


def test_a_stream_that_always_breaks_is_given_up(database: Documents, opened: Callable[..., MongoDB]) -> None:
    changes = opened(database.name, retry_deadline_s=0.3).changes()
    since = changes.begin()
    with failing(database, 1_000_000, "getMore", errorCode=43), pytest.raises(TransientError):
        list(changes.follow(Things, since))


@pytest.mark.parametrize(
    ("code", "catalogue"),
    [(286, "E-SRC-HISTORY-LOST"), (136, "E-SRC-HISTORY-LOST"), (13, "E-SRC-AUTH"), (10334, "E-SRC-EVENT-SIZE")],
)
@pytest.mark.parametrize("command", ["aggregate", "getMore"])
def test_a_refusal_says_what_to_do(
    database: Documents, changes: DatabaseChanges, command: str, code: int, catalogue: str
) -> None:
    since = changes.begin()
    with failing(database, 1, command, errorCode=code), pytest.raises(PermanentError) as told:
        list(changes.follow(Things, since))
    assert told.value.code == catalogue
    if code in (286, 136, 10334):
        assert "offramp backfill PLAN --restart --route NAME" in told.value.message


def test_history_that_is_gone_is_never_passed_over(tmp_path: Path, opened: Callable[..., MongoDB]) -> None:
    with servers.mongodb(tmp_path / "short", "--oplog-max-entries", "50") as url:
        database = opened("shop", url)
        changes, writing = database.changes(), database._client.shop
        writing.things.insert_one({"_id": "first"})
        since = changes.begin()
        writing.things.insert_many([{"_id": own} for own in range(20)])
        recent = caught_up(changes, since)[-1].position
        oplog = writing.client.local["oplog.rs"]

        def forgotten() -> bool:
            writing.other.insert_many([{} for _ in range(100)])
            oldest = oplog.find_one()
            assert oldest is not None
            return as_int(oldest["ts"]) > recent.time

        until(forgotten, "oplog that begins anew")
        # This server opens a stream at any time without a word; it is the oplog's first entry that tells (R122).
        for lost in (since, StreamPosition(since.time), recent, StreamPosition(recent.time)):
            with pytest.raises(PermanentError) as told:
                list(changes.follow(Things, lost, until=changes.now()))
            assert told.value.code == "E-SRC-HISTORY-LOST"
        window_s = changes.window_s()
        assert window_s is not None
        assert window_s < 60
        assert caught_up(changes, changes.begin())
        database.close()


def test_an_oplog_that_overtakes_a_stream_that_is_open_is_never_passed_over(
    tmp_path: Path, opened: Callable[..., MongoDB]
) -> None:
    """The reader is held up between two looks, as a process that is stopped or a target that is slow holds it up."""
    with servers.mongodb(tmp_path / "short", "--oplog-max-entries", "50") as url:
        database = opened("shop", url)
        changes, writing = database.changes(), database._client.shop
        writing.things.insert_one({"_id": "first"})
        since = changes.begin()
        writing.things.insert_one({"_id": "seen"})
        following = changes.follow(Things, since)
        seen = next(batch for batch in following if "seen" in ids([batch]))
        writing.things.insert_one({"_id": "lost"})
        oplog = writing.client.local["oplog.rs"]

        def forgotten() -> bool:
            writing.other.insert_many([{} for _ in range(100)])
            oldest = oplog.find_one()
            assert oldest is not None
            return as_int(oldest["ts"]) > seen.position.time

        until(forgotten, "oplog that begins anew")
        with pytest.raises(PermanentError) as told:
            next(following)
        assert told.value.code == "E-SRC-HISTORY-LOST"
        assert "the source's oplog begins at" in told.value.message
        database.close()


def test_a_standalone_server_has_no_changes(tmp_path: Path, opened: Callable[..., MongoDB]) -> None:
    with servers.mongodb(tmp_path / "standalone", "--standalone") as url:
        database = opened("shop", url)
        with pytest.raises(PermanentError) as told:
            database.changes().begin()
        database.close()
    assert told.value.code == "E-SRC-STANDALONE"


def test_a_token_that_is_not_known_gives_way_to_the_time(database: Documents, changes: DatabaseChanges) -> None:
    since = changes.begin()
    database.things.insert_many([{"_id": own} for own in range(3)])
    spoilt = StreamPosition(since.time, bson.encode({"_data": "82ffff"}))
    assert ids(caught_up(changes, spoilt)) == [0, 1, 2]


# --- what only a script can answer ------------------------------------------------------------------------------------


def scripted(
    opened: Callable[..., MongoDB], server: Scripted, window_s: float | None = None, limits: Limits = LIMITS
) -> DatabaseChanges:
    return opened("shop", server.url, limits=limits, retry_deadline_s=1).changes(window_s)


def test_a_token_not_found_gives_way_to_the_time_only_if_the_oplog_reaches_back(
    opened: Callable[..., MongoDB],
) -> None:
    position = StreamPosition(at(900), bson.encode(token(at(900))))
    for code in (280, 260):
        with serving(Scripted(refusals=[code])) as server:
            list(scripted(opened, server).follow(Things, position, until=at(950)))
            assert [stream.get("startAtOperationTime") for stream in server.streams] == [None, stamp(at(900))]
        for oldest in (None, at(900, 2)):
            with serving(Scripted(refusals=[code], oldest=oldest)) as server, pytest.raises(PermanentError) as told:
                list(scripted(opened, server).follow(Things, position, until=at(950)))
            assert told.value.code == "E-SRC-HISTORY-LOST"


def overtaken(server: Scripted, at_look: int, **beginning: int | None) -> None:
    """From this getMore on the server's log begins elsewhere, or another time has come."""
    answer, looks = server.answer, 0

    def answered(command: Mapping[str, Any]) -> bytes:
        nonlocal looks
        if "getMore" in command:
            looks += 1
            if looks == at_look:
                for name, value in beginning.items():
                    setattr(server, name, value)
        return answer(command)

    server.answer = answered  # type: ignore[method-assign]


def test_an_overrun_is_seen_at_the_look_after_which_the_server_says_nothing_of_it(
    opened: Callable[..., MongoDB],
) -> None:
    since = StreamPosition(at(900), bson.encode(token(at(900))))
    limits = Limits(changed_ids=1)

    def script() -> list[Any]:
        return [([event("insert", at(time), own=time)], token(at(time), f"ff{time}")) for time in (910, 930)]

    # Before the second event is read the log begins after the position that was reached, or no later than that.
    with serving(Scripted(script=script(), oldest=at(890))) as server:
        overtaken(server, 2, oldest=at(920))
        with pytest.raises(PermanentError, match="the source's oplog begins at") as told:
            list(scripted(opened, server, limits=limits).follow(Things, since, until=at(929)))
    assert told.value.code == "E-SRC-HISTORY-LOST"
    with serving(Scripted(script=script(), oldest=at(890))) as server:
        overtaken(server, 2, oldest=at(910))
        assert ids(scripted(opened, server, limits=limits).follow(Things, since, until=at(929))) == [910, 930]


def test_an_overrun_is_seen_where_the_log_may_be_read_through_server_status_alone(
    opened: Callable[..., MongoDB],
) -> None:
    since = StreamPosition(at(900), bson.encode(token(at(900))))
    script: list[Any] = [([event("insert", at(930), own=1)], token(at(930), "ff1"))]
    with serving(Scripted(script=script, oldest=None, earliest=at(890), now=at(905))) as server:
        overtaken(server, 1, earliest=at(920))
        with pytest.raises(PermanentError) as told:
            list(scripted(opened, server).follow(Things, since, until=at(925)))
    assert told.value.code == "E-SRC-HISTORY-LOST"


def test_a_source_that_tells_nothing_of_its_log_is_judged_by_the_window_that_was_given(
    opened: Callable[..., MongoDB],
) -> None:
    since = StreamPosition(at(900), bson.encode(token(at(900))))

    def follow(window_s: float | None) -> list[ChangeBatch]:
        script: list[Any] = [([event("insert", at(1090), own=1)], token(at(1090), "ff1"))]
        with serving(Scripted(script=script, oldest=None, now=at(910))) as server:
            overtaken(server, 1, now=at(1100))
            return list(scripted(opened, server, window_s).follow(Things, since, until=at(905)))

    assert ids(follow(None)) == ids(follow(200)) == [1]
    with pytest.raises(PermanentError, match="the source tells the changes of 100 s") as told:
        follow(100)
    assert told.value.code == "E-SRC-HISTORY-LOST"


def test_a_log_that_reaches_far_back_is_not_asked_at_every_look(opened: Callable[..., MongoDB]) -> None:
    since = StreamPosition(at(900), bson.encode(token(at(900))))
    script = [([event("insert", at(900 + own), own=own)], token(at(900 + own), f"ff{own}")) for own in range(1, 51)]
    with serving(Scripted(script=[*script], oldest=at(100), now=at(960))) as server:
        limits = Limits(changed_ids=1)
        assert len(ids(scripted(opened, server, limits=limits).follow(Things, since, until=at(945)))) >= 45
        assert sum("find" in command for command in server.heard) < 15


def test_a_downtime_longer_than_the_window_is_refused_though_the_stream_opens(opened: Callable[..., MongoDB]) -> None:
    since = StreamPosition(at(900), bson.encode(token(at(900))))
    with serving(Scripted(oldest=None, now=at(1000))) as server:
        for changes in (scripted(opened, server), scripted(opened, server, 100)):
            assert list(changes.follow(Things, since, until=at(1000)))
            assert changes.window_s() is None
        with pytest.raises(PermanentError) as told:
            list(scripted(opened, server, 99).follow(Things, since, until=at(1000)))
        assert told.value.code == "E-SRC-HISTORY-LOST"
        server.earliest = at(901)
        assert scripted(opened, server).window_s() == 99
        with pytest.raises(PermanentError) as told:
            list(scripted(opened, server).follow(Things, since, until=at(1000)))
        assert told.value.code == "E-SRC-HISTORY-LOST"


def test_through_a_mongos_silence_proves_nothing(opened: Callable[..., MongoDB]) -> None:
    late = event("insert", at(950), own="late")
    script = [([], token(at(940))), ([], token(at(950))), ([late], token(at(950), "ff")), ([], token(at(951)))]
    with serving(Scripted(sharded=True, script=[*script])) as server:
        batches = list(scripted(opened, server).follow(Things, StreamPosition(at(900)), until=at(950)))
    assert ids(batches) == ["late"]
    assert [batch.position.time for batch in batches][-1] == at(951)


def test_on_a_replica_set_an_answer_of_nothing_proves_as_much_as_its_token_tells(
    opened: Callable[..., MongoDB],
) -> None:
    late = event("insert", at(950), own="late")
    halfway: list[Any] = [([], token(at(940))), ([], token(at(950))), ([late], token(at(950), "ff"))]
    with serving(Scripted(script=halfway, now=at(950))) as server:
        batches = list(scripted(opened, server).follow(Things, StreamPosition(at(900)), until=at(950)))
        (opening,) = [command for command in server.heard if "aggregate" in command]
    assert ids(batches) == ["late"]
    assert opening["readConcern"] == {"level": "majority", "afterClusterTime": stamp(at(950))}
    with serving(Scripted(now=at(950))) as server:  # The token stays at the present: that is the end.
        *_, last = scripted(opened, server).follow(Things, StreamPosition(at(900)), until=at(950))
    assert last.position.time == at(950)


def test_a_time_not_yet_reached_is_waited_for_by_the_read_itself(opened: Callable[..., MongoDB]) -> None:
    with serving(Scripted(now=at(1000))) as server:
        list(scripted(opened, server).follow(Things, StreamPosition(at(900)), until=at(1000, 7)))
        (opening,) = [command for command in server.heard if "aggregate" in command]
    assert opening["readConcern"]["afterClusterTime"] == stamp(at(1000, 7))


def test_events_are_asked_for_by_name_and_little_of_each(opened: Callable[..., MongoDB]) -> None:
    for version, expanded, split in (((8, 0, 4), True, True), ((6, 0, 8), True, False), ((5, 0, 9), None, False)):
        with serving(Scripted(version=version)) as server:
            for wanted in (False, True):
                list(scripted(opened, server).follow({"things": wanted}, StreamPosition(at(900)), until=at(950)))
        plain, imaged = [command["pipeline"] for command in server.heard if "aggregate" in command]
        assert plain[0]["$changeStream"].get("showExpandedEvents") == expanded
        assert "fullDocument" not in plain[0]["$changeStream"]
        assert "fullDocumentBeforeChange" not in plain[0]["$changeStream"]
        assert imaged[0]["$changeStream"]["fullDocumentBeforeChange"] == "whenAvailable"
        assert [stage for stage in plain if "$changeStreamSplitLargeEvent" in stage] == []
        assert ("$changeStreamSplitLargeEvent" in imaged[-1]) == split
        # A filter on what documents hold would drop deletes and documents that leave the filter (R127).
        assert "fullDocument" not in str(plain)
        assert plain[2] == {"$project": {"operationType": 1, "ns": 1, "to": 1, "clusterTime": 1, "documentKey._id": 1}}


def parts(time: int) -> list[dict[str, Any]]:
    """Return one update in three parts, each with a token of its own."""
    whole = event("update", time, own="large", fullDocumentBeforeChange={"_id": "large", "v": 0})
    cut = [{"operationType": whole["operationType"], "ns": whole["ns"]}, {"documentKey": whole["documentKey"]}]
    cut.append({name: whole[name] for name in ("clusterTime", "fullDocumentBeforeChange")})
    return [
        part | {"_id": token(time, f"f{number}"), "splitEvent": {"fragment": number, "of": 3}}
        for number, part in enumerate(cut, 1)
    ]


def test_an_event_in_parts_is_put_together_and_never_left_in_its_midst(opened: Callable[..., MongoDB]) -> None:
    limits = Limits(changed_s=0.0)
    first, *rest = parts(at(960))
    before = event("insert", at(950), own="small")
    script: list[Any] = [([before], before["_id"]), ([first], first["_id"]), (rest, rest[-1]["_id"])]
    images = {"things": True}
    with serving(Scripted(script=[*script])) as server:
        small, large, *_ = scripted(opened, server, limits=limits).follow(
            images, StreamPosition(at(900)), until=at(999)
        )
    assert ids([small, large]) == ["small", "large"]
    (touched,) = large.touched
    assert [bson.decode(image) for image in touched.before] == [{"_id": "large", "v": 0}]
    assert small.position.token == bson.encode(before["_id"])
    # The connection breaks after the first part and the rest does not come: the event is asked for again as a whole.
    with serving(Scripted(script=[*script[:2], ((), first["_id"]), *script[1:]])) as server:
        batches = list(scripted(opened, server, limits=limits).follow(images, StreamPosition(at(900)), until=at(999)))
        resumed = [stream.get("resumeAfter") for stream in server.streams]
    assert ids(batches) == ["small", "large"]
    assert resumed == [None, before["_id"]]


def test_the_shard_key_is_no_part_of_what_names_a_document(opened: Callable[..., MongoDB]) -> None:
    # A document that moves to another shard is deleted here and inserted there, in either order (R115, R116).
    moved = [
        event("insert", at(950), documentKey={"region": "south", "_id": 1}),
        event("delete", at(950), documentKey={"region": "north", "_id": 1}),
    ]
    with serving(Scripted(sharded=True, script=[(moved, token(at(951)))])) as server:
        (batch,) = scripted(opened, server).follow(Things, StreamPosition(at(900)), until=at(950))
    assert [one.id for one in batch.touched] == [bson.encode({"_id": 1})]
    assert batch.events == 2


def test_an_id_that_no_decoder_keeps_is_named_by_its_bytes(opened: Callable[..., MongoDB]) -> None:
    text = bson.encode({"_id": "old"})
    symbol = text[:4] + b"\x0e" + text[5:]  # A symbol becomes a string when it is decoded.
    deleted = event("delete", at(950), documentKey=RawBSONDocument(symbol))
    with serving(Scripted(script=[([deleted], token(at(951)))])) as server:
        (batch,) = scripted(opened, server).follow(Things, StreamPosition(at(900)), until=at(950))
    assert [one.id for one in batch.touched] == [symbol]


def test_what_documents_were_bounds_a_batch_too(opened: Callable[..., MongoDB]) -> None:
    limits = Limits(changed_bytes=1000)
    image = {"_id": 1, "text": "x" * 600}
    updates = [event("update", at(950 + number), own=1, fullDocumentBeforeChange=image) for number in range(5)]
    with serving(Scripted(script=[(updates, token(at(960)))])) as server:
        batches = list(
            scripted(opened, server, limits=limits).follow({"things": True}, StreamPosition(at(900)), until=at(999))
        )
    assert [batch.events for batch in batches] == [2, 2, 1]
