"""What is still to be synced is neither right nor wrong, and what cannot be is never excused by it."""

from __future__ import annotations

from typing import cast

import bson

from flows.copying.projection import Projection
from flows.verifier.ledger import Mismatch
from flows.verifier.pending_changes import PendingChanges, changed_by_type
from flows.verifier.recheck import Recheck
from mappers.contract import Document, Losses
from mappers.redis.records import String
from stores import memory
from stores.contract.source import Source
from stores.memory import MemoryTarget
from stores.testing.changing_database import MemoryDatabase


def at(number: int) -> bytes:
    return bson.encode({"_id": number})


def one(document: Document) -> list[String]:
    return [String(f"n:{document['_id']}", str(document["n"]).encode())]


def kinds(database: MemoryDatabase, owed: PendingChanges, *seeming: Mismatch) -> list[str]:
    memory.forget("pending")
    target = MemoryTarget(MemoryTarget.Connection(), MemoryTarget.Placement(), "pending")
    target.prepare()
    target.write([String(f"n:{number}", b"stale") for number in (1, 2, 3, 9)])
    # A recheck asks a source for documents alone.
    source = cast(Source, database.source("a"))
    look = Recheck(source, Projection(one, Losses(), (String,)), target, progress=owed, patience_s=0.05)
    return [found.kind for found in look(seeming)]


SEEMING = (
    Mismatch("differs", "n:1", at(1)),
    Mismatch("differs", "n:2", at(2)),
    Mismatch("extra", "n:3"),
    Mismatch("extra", "n:9"),
)


def changed() -> tuple[MemoryDatabase, PendingChanges]:
    """Documents 1 to 3 that were synced; then 1 is changed and 3 deleted."""
    database = MemoryDatabase()
    for number in (1, 2, 3):
        database.change("a", {"_id": number, "n": number})
    position = database.changes().begin()
    database.change("b", {"_id": 2, "n": 0})
    database.change("a", {"_id": 1, "n": 7})
    database.change("a", 3)
    return database, PendingChanges(
        database.changes(), "a", position, addresses=lambda of: [f"n:{bson.decode(of)['_id']}"]
    )


def test_what_changed_past_the_position_is_unsettled_and_all_else_is_judged() -> None:
    database, owed = changed()
    assert kinds(database, owed, *SEEMING) == ["unsettled", "differs", "unsettled", "extra"]
    assert changed_by_type(owed) == {"int": 2}


def test_an_extra_that_no_id_tells_of_is_unsettled_while_anything_changed() -> None:
    database, owed = changed()
    untold = PendingChanges(database.changes(), "a", owed._position)
    assert kinds(database, untold, *SEEMING) == ["unsettled", "differs", "unsettled", "unsettled"]
    quiet = PendingChanges(database.changes(), "a", database.changes().begin())
    assert kinds(database, quiet, *SEEMING) == ["differs", "differs", "extra", "extra"]


def test_where_changes_are_lost_nothing_is_confirmed_and_the_reason_says_why() -> None:
    database, owed = changed()
    database.forgotten = len(database.events)
    assert kinds(database, owed, *SEEMING) == ["unsettled"] * 4
    assert "E-SRC-HISTORY-LOST" in owed.lost
    assert changed_by_type(owed) == {}
    database, owed = changed()
    database.drop("a")
    assert set(kinds(database, owed, *SEEMING)) == {"unsettled"}
    assert owed.lost == "the collection was dropped"


def test_whether_anything_changed_is_known_from_the_first_change_and_unknown_where_changes_are_lost() -> None:
    database, owed = changed()
    assert owed.is_any()
    quiet = PendingChanges(database.changes(), "a", database.changes().begin())
    assert not quiet.is_any()
    database.change("b", 2)
    assert not quiet.is_any()
    database.change("a", {"_id": 2, "n": 8})
    assert quiet.is_any()
    database.forgotten = len(database.events)
    assert not owed.is_any()
    assert "E-SRC-HISTORY-LOST" in owed.lost
