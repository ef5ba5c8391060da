"""A server of another maker that speaks MongoDB's protocol is copied, resumed and verified as a MongoDB is.

FerretDB takes the bounds of an index and ignores them, draws no sample and has no changes: what a run does instead is
proven here on the real program.
"""

from __future__ import annotations

import datetime as dt
import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import bson
import pytest
from bson import Binary, Int64, ObjectId, Timestamp
from ferretdbs import ferretdb, require_go
from gated_mapper import gated_plan, reached_file
from mongodbs import partitions_between, positions, read
from plans import Stores, offramp, start, write_plan
from pymongo import MongoClient
from pymongo.database import Database
from real_collections import beside_the_project, documents_of
from redis import Redis
from waiting import until

from stores.contract.source import Partition
from stores.errors import PlanError
from stores.mongodb.configuration import Connection, Limits
from stores.mongodb.database import MongoDB
from stores.mongodb.flavour import BoundWay

pytestmark = [pytest.mark.real, pytest.mark.process]
Documents = Database[dict[str, Any]]

IDS = [
    *(None, -(2**31), 0.5, 1, Int64(2**40), "", "a\0b", "é", {}, {"a": 1, "b": [1, "x"]}, b"\x00\xff"),
    *(Binary(uuid.UUID(int=7).bytes, 4), ObjectId("5f0000000000000000000001"), False),
    *(dt.datetime(1960, 2, 29, tzinfo=dt.UTC), Timestamp(1, 2)),
]
"""One of each kind that FerretDB stores, in its order, which is that of BSON."""


@pytest.fixture(scope="module")
def ferretdb_url(starts_server: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    require_go()
    with ferretdb(tmp_path_factory.mktemp("ferretdb")) as url:
        yield url


@pytest.fixture
def database(ferretdb_url: str, unique: str) -> Iterator[Documents]:
    with MongoClient[dict[str, Any]](ferretdb_url) as client:
        yield client[unique]
        client.drop_database(unique)


@pytest.fixture
def stores(ferretdb_url: str, redis_url: str) -> Stores:
    return Stores(ferretdb_url, redis_url, "", "")


def opened(url: str, database: str, only_way: BoundWay | None = None) -> MongoDB:
    return MongoDB(Connection(url, database, retry_deadline_s=5), limits=Limits(batch_documents=3), only_way=only_way)


def test_every_range_of_mixed_ids_is_read_exactly_once(ferretdb_url: str, database: Documents) -> None:
    database.mixed.insert_many([{"_id": own} for own in reversed(IDS)])
    everything = positions(bson.encode({"_id": own}) for own in IDS)
    mongo = opened(ferretdb_url, database.name)
    one = mongo.source("mixed")
    assert mongo.flavour().name == "FerretDB"
    assert read(one) == everything
    for number, at in enumerate(everything):
        assert read(one, after=at) == everything[number + 1 :]
        assert read(one, *partitions_between(at)) == everything
    for wanted in (2, 4, 16):
        parts = one.split(wanted)
        assert len(parts) == wanted
        assert read(one, *parts) == everything
        assert [sum(counts.values()) for counts in one.count_by_partition(parts)] == [
            len(read(one, part)) for part in parts
        ]
    assert sorted(one.sample(100)) == sorted(everything)
    assert len(one.fetch(everything)) == len(everything)
    middle = one.middle(Partition(0), everything[0], 4)
    assert middle in everything[1:-1]
    assert any("a filter by types of _id" in note for note in one.check())
    mongo.close()


def test_bounds_that_are_taken_and_ignored_are_found_out(ferretdb_url: str, database: Documents) -> None:
    database.things.insert_many([{"_id": own} for own in range(5)])
    ignoring = opened(ferretdb_url, database.name, "index")
    with pytest.raises(PlanError) as told:
        ignoring.source("things").check()
    assert told.value.code == "E-SRC-BOUNDS"
    assert "accepted and not obeyed" in told.value.message
    ignoring.close()


def test_what_it_lacks_is_told_by_check_in_a_line_each_and_tried_by_the_probe(
    stores: Stores, database: Documents, unique: str, tmp_path: Path
) -> None:
    database.things.insert_many([{"_id": own, "n": own} for own in range(5)])
    plan = write_plan(tmp_path, stores, database.name, {"things": {"use_case": "cache", "key": f"{unique}:{{_id}}"}})
    done = offramp("check", plan, folder=tmp_path)
    assert done.code == 0, done.err
    for words in (
        "the source is FerretDB, which calls itself MongoDB 7.0",
        "FerretDB has no change streams: say sync: rescan or sync: watermark",
        "FerretDB has no reads of what a majority has",
        "is not asked for random documents ($sample): partitions are cut along the index on _id",
        "ranges are read by a filter by types of _id",
    ):
        assert words in done.out, words
    probed = offramp("check", plan, "--probe", "--json", folder=tmp_path).json
    answers = {each["ability"]: each["answer"] for each in probed["abilities"]}
    assert answers["a range of _id: the bounds of an index (min, max)"] == "no"
    assert answers["a range of _id: a filter by types of _id"] == "yes"
    assert answers["random documents ($sample)"] == "no"
    assert not any(each["differs"] for each in probed["abilities"])


def test_four_partitions_of_mixed_ids_are_killed_resumed_and_verified(
    stores: Stores, database: Documents, unique: str, tmp_path: Path
) -> None:
    others = [own for own in IDS if not isinstance(own, int) or isinstance(own, bool)]
    database.things.insert_many([{"_id": own, "n": 10_000 + number} for number, own in enumerate(others)])
    database.things.insert_many([{"_id": f"k{number:04}", "n": 20_000 + number} for number in range(500)])
    plan = gated_plan("wait", tmp_path / "go", stores, database, unique, {"workers": 4, "window": 1}, partitions=4)
    running = start("backfill", plan, folder=tmp_path)
    try:
        until(lambda: reached_file(tmp_path / "go").exists() or running.poll() is not None, "the document at the gate")
        assert running.poll() is None, running.communicate()
    finally:
        running.kill()
        running.communicate()
    (tmp_path / "go").touch()
    resumed = offramp("backfill", plan, "--json", folder=tmp_path)
    assert resumed.code == 0, resumed.out + resumed.err
    documents = 3_500 + 500 + len(others)
    row = resumed.route("things")
    assert (row["read"], row["records"], row["held"], row["extra"]) == (documents, documents, documents, 0)
    with closing(sqlite3.connect(f"file:{tmp_path / 'state.db'}?mode=ro", uri=True)) as state:
        assert state.execute("SELECT COUNT(*) FROM partitions").fetchone()[0] >= 4
    with Redis.from_url(stores.redis) as redis:
        assert redis.delete(f"{unique}:n:7")
        redis.set(f"{unique}:n:8", "changed")
    found = offramp("verify", plan, "--json", folder=tmp_path)
    row = found.route("things")
    assert (row["held"], row["missing"], row["differs"], row["extra"]) == (documents - 1, 1, 1, 0)
    sampled = offramp("verify", plan, "--level", "sample", "--sample", "5", "--json", folder=tmp_path)
    assert sampled.route("things")["verified"] == "sample"


def _compared_up_to(folder: Path) -> bytes | None:
    """Return the position that a verification under way has on record."""
    try:
        with closing(sqlite3.connect(f"file:{folder / 'state.db'}?mode=ro", uri=True)) as state:
            row = state.execute("SELECT position FROM pass_parts WHERE stage = 'compare'").fetchone()
    except sqlite3.OperationalError:
        return None
    return row[0] if row else None


def test_a_verification_that_is_killed_goes_on_and_finds_nothing_that_is_not_there(
    stores: Stores, database: Documents, unique: str, tmp_path: Path
) -> None:
    documents = 3_000
    database.things.insert_many([{"_id": own if own % 2 else f"k{own}", "n": own} for own in range(documents)])
    route = {"use_case": "cache", "key": f"{unique}:{{_id}}"}
    keys = {"run": {"window": 1}, "verification": {"max_rate": 300}}
    plan = write_plan(tmp_path, stores, database.name, {"things": route}, **keys)
    assert offramp("backfill", plan, "--verify", "none", folder=tmp_path).code == 0
    running = start("verify", plan, folder=tmp_path)
    try:
        until(lambda: _compared_up_to(tmp_path) is not None or running.poll() is not None, "a first checkpoint")
        assert running.poll() is None, running.communicate()
    finally:
        running.kill()
        running.communicate()
    resumed = offramp("verify", plan, "--json", folder=tmp_path)
    assert resumed.code == 0, resumed.out
    row = resumed.route("things")
    assert (row["held"], row["missing"], row["differs"], row["collides"], row["extra"]) == (documents, 0, 0, 0, 0)
    assert row["verification"]["resumed"] == 1


@beside_the_project
@pytest.mark.parametrize("file", ["theaters.bson", "accounts.json", "customers.json"])
def test_real_collections_arrive_whole(
    file: str, stores: Stores, database: Documents, unique: str, tmp_path: Path
) -> None:
    documents = documents_of(file)
    insert = partial(database.things.insert_many, ordered=False)
    for begin in range(0, len(documents), 500):
        insert(documents[begin : begin + 500])
    route = {"use_case": "cache", "key": f"{unique}:{{_id}}", "collection": "things", "partitions": 4}
    plan = write_plan(tmp_path, stores, database.name, {"things": route})
    done = offramp("backfill", plan, "--json", folder=tmp_path)
    assert done.code == 0, done.out
    row = done.route("things")
    assert (row["read"], row["held"], row["losses"]) == (len(documents), len(documents), {})
