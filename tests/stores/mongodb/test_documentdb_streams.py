"""Changes of an Amazon DocumentDB: what proves a position there, where a stream goes on, and what it does not tell."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Any

import bson
import pytest
from bson.raw_bson import RawBSONDocument
from bson.timestamp import Timestamp
from documentdb_proxy import DocumentDB, documentdb
from documentdb_rules import BEFORE_TOKENS
from mongodbs import Documents, failing

from stores.contract.changes import ChangeBatch, StreamPosition
from stores.contract.stop import PolledStop
from stores.errors import PermanentError
from stores.mongodb.change_stream import DatabaseChanges
from stores.mongodb.configuration import LIMITS, Limits
from stores.mongodb.database import MongoDB
from stores.mongodb.quiet_proof import QuietProof
from stores.mongodb.stream_errors import HISTORY_LOST
from stores.mongodb.stream_marks import Mark, goes_by_silence
from stores.mongodb.stream_scopes import STREAM_OFF, enabling
from stores.mongodb.stream_watch import OFF_MEANWHILE

Things = {"things": False}
QUICK = replace(LIMITS, quiet_s=0.1, await_ms=20)
Serve = Callable[..., tuple[DocumentDB, DatabaseChanges]]


@pytest.fixture
def serve(database: Documents, mongodb_url: str, opened: Callable[..., MongoDB]) -> Iterator[Serve]:
    """Serve a DocumentDB, and return it with the changes of the test's database."""
    with ExitStack() as running:

        def one(
            version: Any = "5.0", *, limits: Limits = QUICK, window_s: float | None = None, **how: Any
        ) -> tuple[DocumentDB, DatabaseChanges]:
            server = running.enter_context(documentdb(mongodb_url, version, **{"empty_answers": 2, **how}))
            return server, opened(database.name, server.url, limits=limits).changes(window_s)

        yield one


def ids(batches: list[ChangeBatch]) -> list[Any]:
    return [bson.decode(one.id)["_id"] for batch in batches for one in batch.touched if one.collection == "things"]


def caught_up(changes: DatabaseChanges, since: StreamPosition) -> list[ChangeBatch]:
    return list(changes.follow(Things, since, until=changes.now()))


# --- what proves a position -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["5.0", BEFORE_TOKENS, "8.0"], ids=["5.0", "5.0 without tokens", "8.0"])
def test_a_stream_that_first_says_there_is_nothing_loses_no_change(
    serve: Serve, database: Documents, version: Any
) -> None:
    """With the time that silence must last as it is: the first answers come at once, whatever there is."""
    _, changes = serve(version, limits=LIMITS, empty_answers=8)
    since = changes.begin()
    database.things.insert_many([{"_id": own} for own in range(240)])
    now = changes.now()
    batches = list(changes.follow(Things, since, until=now))
    assert ids(batches) == [*range(240)]
    assert batches[-1].position.time >= now


def test_nothing_is_proven_before_the_last_change_is_shown_again(serve: Serve, database: Documents) -> None:
    """A server that looks for the place to go on at says for long that there is nothing."""
    server, changes = serve(empty_answers=0)
    since = changes.begin()
    database.things.insert_many([{"_id": 1}, {"_id": 2}])
    at = caught_up(changes, since)[-1].position
    database.things.insert_one({"_id": 3})
    server.streams.empty_answers = 60  # Of about 10 ms each: several times what would count as silence.
    assert ids(caught_up(changes, at)) == [2, 3]


def test_silence_counts_for_nothing_while_a_long_write_runs(serve: Serve, database: Documents) -> None:
    server, changes = serve()
    since = changes.begin()
    server.streams.stalled.set()
    database.things.insert_one({"_id": 1})
    now = changes.now()
    answers = iter([False] * 8 + [True] * 9)
    followed = list(changes.follow(Things, since, until=now, stop=PolledStop(lambda: next(answers), every_s=0)))
    assert ids(followed) == []
    assert followed[-1].position.time < now
    server.streams.stalled.clear()
    assert ids(caught_up(changes, followed[-1].position)) == [1]


def test_a_user_who_may_not_ask_for_running_writes_can_sync(serve: Serve, database: Documents) -> None:
    server, changes = serve()
    server.tells_operations = False
    since = changes.begin()
    database.things.insert_one({"_id": 1})
    assert ids(caught_up(changes, since)) == [1]
    assert sum("currentOp" in command for command in server.sent) == 1


def test_a_change_of_any_collection_proves_how_far_the_stream_has_come(serve: Serve, database: Documents) -> None:
    _, changes = serve(limits=replace(LIMITS, quiet_s=3600.0))  # Silence proves nothing.
    since = changes.begin()
    database.things.insert_one({"_id": 1})
    now = changes.now()
    following = changes.follow(Things, since, until=now)
    database.others.insert_one({})
    assert ids(list(following)) == [1]


class Clock:
    """A clock that is set, and a source whose time is that of the clock."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.long_write = False

    def proof(self, at: StreamPosition, **how: Any) -> QuietProof:
        return QuietProof(
            *(at, lambda: int(self.now_s) << 32, lambda: self.long_write),
            **{"quiet_s": 2.0, "window_s": None, "clock": lambda: self.now_s, **how},
        )

    def after(self, proof: QuietProof, *waits_s: float) -> list[int]:
        """Return what each answer of nothing proves, in seconds."""
        proven = []
        for wait_s in waits_s:
            self.now_s += wait_s
            proven.append(proof.answered_nothing() >> 32)
        return proven


def event(time_s: int, own: str = "01aa") -> RawBSONDocument:
    return RawBSONDocument(bson.encode({"_id": {"_data": own}, "clusterTime": Timestamp(time_s, 1)}))


FRESH = StreamPosition(90 << 32, Mark(90 << 32).token())


def test_three_answers_and_two_seconds_are_both_needed() -> None:
    clock = Clock()
    assert clock.after(clock.proof(FRESH), 0, 0.1, 0.1, 0.1, 0.1) == [0, 0, 0, 0, 0]
    assert clock.after(clock.proof(FRESH), 0, 2.5, 2.5) == [0, 0, 0]
    clock = Clock()
    assert clock.after(clock.proof(FRESH), 0, 0.5, 0.5, 1.1) == [0, 0, 0, 100]


def test_what_is_proven_is_the_time_before_the_silence() -> None:
    clock = Clock()
    proof = clock.proof(FRESH)
    assert clock.after(proof, 0, 1, 1, 1, 1) == [0, 0, 0, 100, 101]
    proof.saw(event(103))
    assert clock.after(proof, 0, 1, 1, 1) == [101, 101, 101, 104]


def test_a_long_write_at_either_end_makes_silence_count_for_nothing() -> None:
    clock = Clock()
    proof = clock.proof(FRESH)
    clock.long_write = True
    assert clock.after(proof, 0, 1, 1, 1) == [0, 0, 0, 0]
    clock.long_write = False
    assert clock.after(proof, 0, 1, 1) == [0, 0, 0]
    clock.long_write = True
    assert clock.after(proof, 1) == [0]


def test_a_change_that_is_not_shown_again_is_a_history_that_is_lost() -> None:
    clock = Clock()
    proof = clock.proof(StreamPosition(90 << 32, Mark(90 << 32, bson.encode({"_data": "01"}), shown=True).token()))
    assert clock.after(proof, *[1] * 5) == [0] * 5
    with pytest.raises(PermanentError, match="not shown again the last change") as error:
        clock.after(proof, 600)
    assert error.value.code == HISTORY_LOST


# --- where a stream goes on -------------------------------------------------------------------------------------------


def test_a_position_is_before_the_last_change_that_was_shown() -> None:
    clock = Clock()
    proof = clock.proof(FRESH)
    assert Mark.of(proof.position(95 << 32)) == Mark(90 << 32)
    proof.saw(event(96, "01aa"))
    assert Mark.of(proof.position(96 << 32)) == Mark(90 << 32, shown=True)
    proof.saw(event(97, "01bb"))
    kept = Mark.of(proof.position(97 << 32))
    assert kept == Mark(96 << 32 | 1, bson.encode({"_data": "01aa"}), shown=True)
    assert kept.stage() == {"resumeAfter": RawBSONDocument(bson.encode({"_data": "01aa"}))}


def test_a_mark_that_grows_old_follows_at_half_of_what_the_source_keeps() -> None:
    clock = Clock()
    proof = clock.proof(FRESH, window_s=7200.0)
    proof.saw(event(95, "01aa"))
    proof.saw(event(96, "01bb"))
    assert Mark.of(proof.position(3600 << 32)).after
    moved = Mark.of(proof.position(3700 << 32))
    assert moved == Mark(1900 << 32)
    assert moved.stage() == {"startAtOperationTime": Timestamp(1900, 0)}


def test_positions_of_other_makers_are_gone_on_from() -> None:
    assert Mark.of(StreamPosition(100 << 32)) == Mark(40 << 32)
    raw = bson.encode({"_data": "01aa"})
    assert Mark.of(StreamPosition(100 << 32, raw)) == Mark(100 << 32, raw)
    assert [goes_by_silence(StreamPosition(1, token)) for token in (raw, b"", b"rescan", FRESH.token)] == [
        *(False, False, False, True)
    ]


@pytest.mark.parametrize("version", ["5.0", BEFORE_TOKENS, "8.0"], ids=["5.0", "5.0 without tokens", "8.0"])
def test_from_each_position_the_rest_is_told(serve: Serve, database: Documents, version: Any) -> None:
    _, changes = serve(version, limits=replace(QUICK, changed_ids=2))
    since = changes.begin()
    database.things.insert_many([{"_id": own} for own in range(5)])
    batches = caught_up(changes, since)
    assert ids(batches) == [*range(5)]
    for number, batch in enumerate(batches):
        told = ids(caught_up(changes, batch.position))
        rest = ids(batches[number + 1 :])
        assert told[-len(rest) or len(told) :] == rest
        assert len(told) <= len(rest) + 1  # The last change before it comes again.


def test_a_stream_that_breaks_is_opened_again_and_nothing_is_lost(serve: Serve, database: Documents) -> None:
    _, changes = serve(limits=replace(QUICK, changed_ids=2))
    since = changes.begin()
    database.things.insert_many([{"_id": own} for own in range(7)])
    following = changes.follow(Things, since, until=changes.now())
    told = [next(following)]
    with failing(database, 3, "getMore", "aggregate", errorCode=43):
        told += following
    assert list(dict.fromkeys(ids(told))) == [*range(7)]


def test_a_token_that_the_source_has_forgotten_gives_way_to_the_time(serve: Serve, database: Documents) -> None:
    server, changes = serve(empty_answers=0)
    since = changes.begin()
    database.things.insert_many([{"_id": 1}, {"_id": 2}])
    at = caught_up(changes, since)[-1].position
    assert Mark.of(at).after
    server.streams.expire(at.time)  # The change of the mark is gone from the log.
    # A stream that had got so much further that the log still reaches back to it goes on by its time …
    later = StreamPosition(at.time + (120 << 32), at.token)
    next(changes.follow(Things, later))
    assert [sorted(stage) for stage in server.opened()[-2:]] == [["resumeAfter"], ["startAtOperationTime"]]
    # … and one that had not has lost what was in between.
    with pytest.raises(PermanentError, match="they are lost") as error:
        list(changes.follow(Things, at, until=changes.now()))
    assert error.value.code == HISTORY_LOST


@pytest.mark.parametrize(("window_s", "advice"), [(None, "set source.change_retention"), (7200.0, "7200 s")])
def test_a_downtime_longer_than_the_source_keeps_changes_is_refused(
    serve: Serve, database: Documents, window_s: float | None, advice: str
) -> None:
    _, changes = serve(window_s=window_s)
    now = changes.now()
    kept_s = 10_800 if window_s is None else 7_200
    at = StreamPosition(now - ((kept_s + 60) << 32))
    with pytest.raises(PermanentError, match=advice) as error:
        list(changes.follow(Things, at, until=now))
    assert error.value.code == HISTORY_LOST
    assert changes.window_s() == window_s
    list(changes.follow(Things, StreamPosition(now - ((kept_s - 600) << 32)), until=now))


# --- what a stream does not tell --------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [136, 303, 9])
def test_streams_that_are_off_are_told_with_the_command(serve: Serve, database: Documents, code: int) -> None:
    server, changes = serve(enabled=False)
    server.streams.not_enabled_code = code
    with pytest.raises(PermanentError) as error:
        changes.begin()
    assert error.value.code == STREAM_OFF
    assert enabling(database.name) in error.value.message
    server.enable(database.name, "things")  # A single collection is not what a database's stream needs.
    with pytest.raises(PermanentError, match="streams are off"):
        changes.begin()
    server.enable(database.name)
    changes.begin()


def test_the_refusal_of_the_stream_itself_is_told_as_that(serve: Serve, database: Documents) -> None:
    """Where the user may not list the scopes, the text of the refusal tells, whatever its code."""
    server, changes = serve(enabled=False)
    server.tells_scopes = False
    with pytest.raises(PermanentError) as error:
        changes.begin()
    assert error.value.code == STREAM_OFF


def test_streams_turned_off_meanwhile_halt_everything(serve: Serve, database: Documents) -> None:
    server, changes = serve(limits=replace(QUICK, watch_s=0.2))
    since = changes.begin()
    following = changes.follow(Things, since)
    at = next(following).position
    server.enable(enable=False)
    batches = list(following)
    assert batches[-1].halts == {"things": OFF_MEANWHILE}
    assert [batch.halts for batch in changes.follow(Things, at)] == [{"things": OFF_MEANWHILE}]


def watched(serve: Serve, database: Documents, change: Callable[[], object]) -> list[ChangeBatch]:
    """Return the batches of a stream of `things` and `more` until it ends by itself, or five looks after the change."""
    _, changes = serve(limits=replace(QUICK, watch_s=0.1))
    database.things.insert_one({"_id": 0})
    database.more.insert_one({"_id": 0})
    database.others.insert_many([{"_id": 7}, {"_id": 8}])
    since = changes.begin()
    following = changes.follow({"things": False, "more": False}, since, stop=PolledStop(lambda: over, every_s=0))
    over = False
    batches = [next(following)]
    change()
    end = time.monotonic() + 1.0
    for batch in following:
        batches.append(batch)
        over = time.monotonic() > end
    return batches


def halts(batches: list[ChangeBatch]) -> Mapping[str, str]:
    return {name: why for batch in batches for name, why in batch.halts.items()}


def test_a_renamed_collection_halts(serve: Serve, database: Documents) -> None:
    found = halts(watched(serve, database, partial(database.things.rename, "elsewhere")))
    assert "may have been renamed" in found["things"]
    assert "elsewhere came and things went" in found["more"]


def test_a_collection_replaced_by_a_renamed_one_halts(serve: Serve, database: Documents) -> None:
    found = halts(watched(serve, database, lambda: database.others.rename("things", dropTarget=True)))
    assert found
    assert "things" in found


def test_collections_that_come_and_go_as_the_stream_tells_halt_nothing(serve: Serve, database: Documents) -> None:
    def change() -> None:
        database.create_collection("empty")
        database.made.insert_many([{}, {}])
        database.others.drop()

    assert halts(watched(serve, database, change)) == {}
