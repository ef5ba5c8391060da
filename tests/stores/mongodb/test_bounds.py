"""Ranges of `_id` are asked for by a way that the server is proven to obey, and what comes is watched all the same."""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import bson
import pytest
from bson import Binary, MaxKey, MinKey, Regex
from documentdb_proxy import documentdb
from documentdb_rules import Name
from mongodbs import Documents, failing, partitions_between, positions, read
from pymongo.errors import OperationFailure

from stores.contract.source import Partition
from stores.errors import PermanentError
from stores.mongodb.bounds import Watch, Way, range_filter, range_query
from stores.mongodb.collection import CollectionSource
from stores.mongodb.configuration import Limits
from stores.mongodb.database import MongoDB
from stores.mongodb.flavour import BoundWay, Flavour
from stores.mongodb.ranges import no_way, prove

Sources = Callable[..., CollectionSource]


def at(own: Any) -> bytes:
    return bson.encode({"_id": own})


# --- the ways ---------------------------------------------------------------------------------------------------------


def test_index_bounds_leave_the_filter_as_it_is() -> None:
    query = range_query("c", Way("index"), {"a": 1}, at(1), at("x"))
    assert query == {"filter": {"a": 1}, "min": {"_id": 1}, "max": {"_id": "x"}}
    for way in (None, Way("index"), Way("brackets")):
        assert range_query("c", way, {"a": 1}, None, None) == {"filter": {"a": 1}}


def test_an_expression_compares_literals() -> None:
    query = range_query("c", Way("expression"), {"a": 1}, at("$a"), at({"$b": 1}))
    bounds = [{"$gte": ["$_id", {"$literal": "$a"}]}, {"$lt": ["$_id", {"$literal": {"$b": 1}}]}]
    assert bson.encode(query) == bson.encode({"filter": {"$and": [{"a": 1}, {"$expr": {"$and": bounds}}]}})


def test_brackets_name_each_type_between_the_bounds_once() -> None:
    between = range_filter("c", Way("brackets"), at("k"), at(b"x"))
    assert between == {
        "$or": [
            *({"_id": {"$gte": "k"}}, {"_id": {"$type": "object"}}, {"_id": {"$type": "array"}}),
            {"_id": {"$lt": b"x"}},
        ]
    }
    assert range_filter("c", Way("brackets"), at(1), at(5)) == {"$or": [{"_id": {"$gte": 1, "$lt": 5}}]}
    assert range_filter("c", Way("brackets"), None, None) == {}


def test_no_bracket_is_asked_for_a_type_that_the_server_does_not_know() -> None:
    way = Way("brackets", frozenset(("minKey", "undefined", "symbol", "decimal", "maxKey")))
    assert "symbol" not in str(range_filter("c", way, at(1), at({})))
    below = range_filter("c", way, None, at(None))
    assert below == {"$or": [{"_id": {"$in": []}}]}  # Nothing of a known type is before null.
    assert range_filter("c", way, at(MaxKey()), None) == {"$or": [{"_id": {"$in": []}}]}


def test_numbers_that_are_none_are_before_all_others_and_in_one_range() -> None:
    way = Way("brackets")
    upto = range_filter("c", way, at(None), at(5))
    assert any(part["_id"] != part["_id"] for part in upto["$or"])
    assert range_filter("c", way, at(None), at(math.nan)) == {"$or": [{"_id": {"$type": "null"}}]}
    types = [part["_id"]["$type"] for part in range_filter("c", way, at(math.nan), at(""))["$or"][:4]]
    assert types == ["double", "int", "long", "decimal"]
    without = range_filter("c", Way("brackets", frozenset(("decimal",)), nan=False), at(None), at(5))
    assert {"_id": {"$type": "double", "$not": {"$gte": 5}}} in without["$or"]
    assert "nan" not in str(without)


def test_a_bound_that_a_filter_compares_otherwise_divides_nothing() -> None:
    way = Way("brackets")
    assert {"_id": {"$type": "array"}} in range_filter("c", way, at([1, 2]), None)["$or"]
    assert {"_id": {"$type": "array"}} not in range_filter("c", way, None, at([1, 2]))["$or"]
    assert range_filter("c", way, at(Regex("a")), at(Regex("b"))) == {"$or": [{"_id": {"$in": []}}]}


@pytest.mark.parametrize("way", ["index", "expression"])
def test_binary_ids_are_bounded_by_their_length_first(database: Documents, source: Sources, way: BoundWay) -> None:
    ids = [b"", b"\xff", b"\x00\xff", b"\xff\x00", Binary(uuid.UUID(int=7).bytes, 4), b"\0" * 17]
    database.things.insert_many([{"_id": own} for own in reversed(ids)])
    one = source("things", only_way=way)
    for own in ids:
        assert read(one, *partitions_between(at(own))) == [at(each) for each in ids]


# --- the proof --------------------------------------------------------------------------------------------------------


class Server:
    """Ids 1 to 5 behind a server that obeys these ways, refuses others, and ignores the rest."""

    def __init__(self, *obeyed: str, refused: Sequence[str] = (), ids: Sequence[int] = (1, 2, 3, 4, 5)) -> None:
        self.obeyed = obeyed
        self.refused = refused
        self.ids = ids
        self.asked: list[Mapping[str, Any]] = []

    def __call__(self, query: Mapping[str, Any]) -> list[bytes]:
        self.asked.append(query)
        where = query.get("filter", {})
        way = "index" if {"min", "max"} & query.keys() else "expression" if "$expr" in where else "brackets"
        if (where or way == "index") and way in self.refused:
            raise OperationFailure("by the test", 238, {"codeName": "NotImplemented", "errmsg": "not yet"})
        found = [own for own in self.ids if way not in self.obeyed or _within(own, query)]
        return [at(own) for own in (found[::-1] if query.get("sort") else found)[: query["limit"]]]


def _within(own: int, query: Mapping[str, Any]) -> bool:
    """Return whether the bounds that a query of the proof has let the id through."""
    if "min" in query or "max" in query:
        return bool(query.get("min", {"_id": own})["_id"] <= own < query.get("max", {"_id": own + 1})["_id"])
    expression = query.get("filter", {}).get("$expr")
    if expression is not None:
        (bound,) = expression["$and"]
        ((operator, (_, literal)),) = bound.items()
        return bool(own >= literal["$literal"] if operator == "$gte" else own < literal["$literal"])
    for part in query.get("filter", {}).get("$or", ()):
        within = part["_id"]
        if isinstance(within, dict):
            if within.get("$type") == "int":
                return True
            if "$gte" in within and own >= within["$gte"]:
                return True
            if "$lt" in within and own < within["$lt"]:
                return True
    return "filter" not in query


@pytest.mark.parametrize(
    ("server", "way", "left_out"),
    [
        (Server("index", "expression", "brackets"), "index", {}),
        (Server("expression", "brackets"), "expression", {"index": "accepted and not obeyed"}),
        (
            Server("brackets", refused=["index"]),
            "brackets",
            {"index": "refused (NotImplemented, 238: not yet)", "expression": "accepted and not obeyed"},
        ),
        (Server(refused=["index", "expression"]), None, None),
    ],
)
def test_the_first_way_that_is_obeyed_is_taken(
    server: Server, way: BoundWay | None, left_out: Mapping[str, str] | None
) -> None:
    proof = prove("things", Flavour("mongodb"), view=False, ask=server)
    assert (proof.way and proof.way.name) == way
    if left_out is not None:
        assert proof.left_out == left_out
    else:
        told = no_way("things", proof)
        assert told.code == "E-SRC-BOUNDS"
        assert "min, max): refused (NotImplemented, 238: not yet)" in told.message
        assert "a filter by types of _id: accepted and not obeyed" in told.message


def test_a_way_that_a_flavour_does_not_have_is_never_sent() -> None:
    server = Server("index", "expression", "brackets")
    for flavour in (Flavour("documentdb", (5, 0)), Flavour("documentdb", (8, 0)), Flavour("other")):
        assert prove("things", flavour, view=False, ask=server).way == Way("expression", nan=flavour.nan)
    assert not any({"min", "max"} & query.keys() for query in server.asked)
    newest = prove("things", Flavour("documentdb", (8, 0, 1)), view=False, ask=server)
    assert newest.way == Way("index")
    assert prove("seen", Flavour("mongodb"), view=True, ask=server).way == Way("expression")


@pytest.mark.parametrize("ids", [(), (1,)])
def test_nothing_is_certain_by_less_than_two_documents(ids: Sequence[int]) -> None:
    proof = prove("things", Flavour("mongodb"), view=False, ask=Server("index", ids=ids))
    assert proof.way == Way("index")
    assert not proof.certain


def test_the_proof_is_made_once_for_a_connection(
    database: Documents, opened: Callable[..., MongoDB], sent: list[Mapping[str, Any]]
) -> None:
    for name in ("things", "others"):
        database[name].insert_many([{"_id": own} for own in range(3)])
    mongo = opened(database.name)
    mongo.source("things").check()
    sent.clear()
    mongo.source("others").check()
    assert read(mongo.source("others"), after=at(1)) == [at(2)]
    assert len([command for command in sent if "find" in command]) == 1


def test_a_server_that_refuses_even_a_read_in_order_is_told_in_its_own_words(
    database: Documents, source: Sources
) -> None:
    database.things.insert_many([{"_id": own} for own in range(3)])
    with failing(database, 1_000_000, "find", errorCode=238), pytest.raises(PermanentError) as told:
        source("things").check()
    assert told.value.code == "E-SRC-REFUSED"
    refused = (
        "the source refused a read of documents by _id ($in) (NotImplemented, 238: Failing command via 'failCommand'"
    )
    assert refused in told.value.message
    with failing(database, 1_000_000, "find", errorCode=238), pytest.raises(PermanentError) as told:
        read(source("things"), after=at(1))
    assert "the source refused a read by ranges of _id (NotImplemented, 238: " in told.value.message


@pytest.mark.parametrize("version", ["5.0", "8.0", "8.0.1"])
def test_an_amazon_documentdb_is_read_in_ranges_without_a_command_that_it_refuses(
    version: Name, mongodb_url: str, database: Documents, mixed: list[bytes], opened: Callable[..., MongoDB]
) -> None:
    with documentdb(mongodb_url, version) as server:  # Its end fails for each command that was refused.
        one = opened(database.name, server.url, limits=Limits(batch_documents=3)).source("mixed")
        one.check()
        one.advance(1 << 32)
        for number, own in enumerate(mixed):
            assert read(one, after=own) == mixed[number + 1 :]
        parts = one.split(4)
        assert read(one, *parts) == mixed
        assert sum(sum(counts.values()) for counts in one.count_by_partition(parts)) == len(mixed)
        assert len(one.fetch(mixed)) == len(mixed)
        one.middle(Partition(0), mixed[0], 1)
        one.sample(3)


# --- the watch --------------------------------------------------------------------------------------------------------


def test_what_is_outside_of_the_range_is_never_taken() -> None:
    watch = Watch("things", at(3), at("m"), collated=False)
    watch.look(at(3.0), at(5))
    watch.look(at(5), at("a"))
    for first, last in ((at(4), at("b")), (at("b"), at("m")), (at("b"), at("n")), (at("b"), at(True))):
        with pytest.raises(PermanentError) as told:
            watch.look(first, last)
        assert told.value.code == "E-SRC-BOUNDS"
    Watch("things", at("b"), at("z"), collated=True).look(at("A"), at("Zz"))
    Watch("things", None, None, collated=False).look(at(MinKey()), at(MaxKey()))


def test_a_read_ends_at_a_document_out_of_its_bounds(database: Documents, source: Sources) -> None:
    # SecantusDB compares binary data in a plain filter by its bytes alone, unlike MongoDB and unlike its own sort.
    ids = [1, b"\x00\xff", Binary(uuid.UUID(int=7).bytes, 4), False]  # The proof is by the first and the last.
    database.things.insert_many([{"_id": own} for own in ids])
    one = source("things", only_way="brackets")
    assert read(one) == positions(at(own) for own in ids)
    for part in (Partition(0, None, at(ids[1])), Partition(0, at(ids[2]), None)):
        with pytest.raises(PermanentError) as told:
            read(one, part)
        assert told.value.code == "E-SRC-BOUNDS"


def test_a_collection_with_a_collation_is_read_and_resumed_in_its_own_order(
    database: Documents, source: Sources
) -> None:
    database.create_collection("things", collation={"locale": "en", "strength": 2})
    database.things.insert_many([{"_id": own} for own in ("a", "B", "c", "D", 1)])
    everything = read(source("things"))
    assert len(everything) == 5
    for number, own in enumerate(everything):
        assert read(source("things"), after=own) == everything[number + 1 :]


def test_a_filter_by_brackets_that_no_document_matches_is_accepted(database: Documents, source: Sources) -> None:
    database.things.insert_many([{"_id": own} for own in (1, 2)])
    one = source("things", only_way="brackets")
    assert read(one, Partition(0, None, at(MinKey()))) == []
