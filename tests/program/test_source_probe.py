"""`offramp check` sends what a run sends, and with `--probe` tries all that a server may do; both write nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from mongodbs import LISTENER, Documents, failing
from plans import Stores, offramp, write_plan

from stores.mongodb.differences import differences
from stores.mongodb.flavour import Flavour


@pytest.fixture
def sent() -> Iterator[list[Mapping[str, Any]]]:
    """The commands that clients send during the test."""
    LISTENER.heard = []
    yield LISTENER.heard
    LISTENER.heard = None


@pytest.fixture
def route(database: Documents, unique: str) -> Mapping[str, Any]:
    database.things.insert_many([{"_id": own, "n": own} for own in range(5)])
    return {"things": {"use_case": "cache", "key": f"{unique}:{{_id}}"}}


def test_each_ability_is_tried_once_and_nothing_is_written(
    stores: Stores, database: Documents, route: Mapping[str, Any], tmp_path: Path, sent: list[Mapping[str, Any]]
) -> None:
    plan = write_plan(tmp_path, stores, database.name, route)
    sent.clear()
    done = offramp("check", plan, "--probe", folder=tmp_path)
    assert done.code == 0, done.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["plan.yaml"]
    reads = {"hello", "buildInfo", "getEngineVersion", "listCollections", "collStats", "find", "aggregate", "getMore"}
    reads |= {"killCursors", "explain", "serverStatus", "endSessions", "ping"}
    assert {next(iter(command)) for command in sent} <= reads
    assert "nothing was written" in done.out
    assert "a range of _id: the bounds of an index (min, max)" in done.out
    told = offramp("check", plan, "--probe", "--json", folder=tmp_path).json
    answers = {each["ability"]: each["answer"] for each in told["abilities"]}
    assert len(answers) == 22
    assert answers["a change stream of the database, opened and closed"] == "yes"
    assert answers["the enabled change streams ($listChangeStreams)"] == "no"
    assert not any(each["differs"] for each in told["abilities"])
    assert told["source"].startswith("MongoDB ")


def test_what_is_not_as_the_plan_says_is_marked(
    stores: Stores, database: Documents, route: Mapping[str, Any], tmp_path: Path
) -> None:
    source = {"uri": stores.mongodb, "database": database.name, "flavour": "documentdb-5.0"}
    plan = write_plan(tmp_path, stores, database.name, route, source=source)
    done = offramp("check", plan, "--probe", folder=tmp_path)
    assert "6 abilities differ from what offramp expects of this server" in done.out
    assert "no <- differs" in done.out
    told = offramp("check", plan, "--probe", "--json", folder=tmp_path).json
    assert {each["ability"] for each in told["abilities"] if each["differs"]} >= {
        "a read of a cluster time (causal session)",
        "a range of _id: the bounds of an index (min, max)",
        "allowDiskUse of a query",
    }


def test_a_refused_ability_has_the_servers_own_text(
    stores: Stores, database: Documents, route: Mapping[str, Any], tmp_path: Path
) -> None:
    plan = write_plan(tmp_path, stores, database.name, route)
    with failing(database, 1, "collStats", errorCode=238):
        told = offramp("check", plan, "--probe", "--json", folder=tmp_path).json
    (size,) = [each for each in told["abilities"] if "collStats" in each["ability"]]
    assert (size["answer"], size["differs"]) == ("no", True)
    assert "238" in size["detail"]


def test_a_construct_that_a_run_would_send_is_sent_by_check(
    stores: Stores, database: Documents, route: Mapping[str, Any], tmp_path: Path
) -> None:
    plan = write_plan(tmp_path, stores, database.name, route)
    with failing(database, 1_000_000, "aggregate", errorCode=238):
        done = offramp("check", plan, folder=tmp_path)
    assert done.code != 0
    assert "the source refused a count by type of _id ($group, $type) (" in done.err
    assert "name it in source.flavour" in done.err


def test_a_mongodb_has_no_differences_and_each_other_server_has_a_line_for_each() -> None:
    assert not list(differences(Flavour("mongodb", (8, 0, 4)), "secondary"))
    assert not list(differences(Flavour("mongodb", (8, 0, 4), replicated=False), "primary"))
    documentdb = " / ".join(differences(Flavour("documentdb", (5, 0)), "secondary"))
    for words in (
        *("the source is Amazon DocumentDB 5.0 (by what it answers", "every read goes to the primary"),
        *("source.read_preference: secondary is not followed", "can be copied, but not synced", "backfill --restart"),
    ):
        assert words in documentdb, words
    assert "$sample" not in documentdb
    other = list(differences(Flavour("other", (7, 0, 42), name="FerretDB", given=True), "primary"))
    assert other[0] == "the source is FerretDB, which calls itself MongoDB 7.0.42 (source.flavour says so)"
    assert any("say sync: rescan or sync: watermark" in line for line in other)
    assert any("$sample" in line for line in other)
    assert any("partitions: 1" in line for line in other)
    assert next(iter(differences(Flavour("other"), "primary"))).startswith("the source is another server (")
