"""A source that fails: cursors that die, refusals, servers that stay away, and connection strings that are wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import bson
import pytest
from mongodbs import Documents, failing, partitions_between, read
from pymongo.errors import OperationFailure

from flows.demo import servers
from stores.contract.source import Partition
from stores.errors import PermanentError, PlanError, TransientError
from stores.mongodb import collection as mongodb
from stores.mongodb.configuration import Connection, Limits
from stores.mongodb.database import MongoDB
from stores.mongodb.errors import refusal


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize(
    "how",
    [
        pytest.param({"errorCode": 43}, id="the cursor is gone"),
        pytest.param({"closeConnection": True}, id="the connection is gone"),
        pytest.param({"errorCode": 237}, id="somebody killed the cursor"),
    ],
)
def test_a_cursor_that_dies_is_reopened_and_nothing_is_lost_or_repeated(
    database: Documents,
    mixed: list[bytes],
    ranged: Callable[..., mongodb.CollectionSource],
    times: int,
    how: Mapping[str, Any],
) -> None:
    one = ranged("mixed")
    with failing(database, times, "getMore", **how):
        assert read(one) == mixed
    with failing(database, times, "getMore", **how):
        assert read(one, *partitions_between(mixed[2], mixed[19])) == mixed


def test_a_cursor_of_a_view_that_dies_is_reopened(
    database: Documents, mixed: list[bytes], ranged: Callable[..., mongodb.CollectionSource]
) -> None:
    database.create_collection("seen", viewOn="mixed", pipeline=[])
    with failing(database, 2, "getMore", errorCode=43):
        assert read(ranged("seen")) == mixed


def test_a_source_that_gives_first_pages_only_is_read_page_by_page(
    database: Documents, mixed: list[bytes], ranged: Callable[..., mongodb.CollectionSource]
) -> None:
    with failing(database, 1_000_000, "getMore", errorCode=43):
        assert read(ranged("mixed")) == mixed


def test_pages_without_a_new_document_are_not_asked_for_for_ever(
    database: Documents, source: Callable[..., mongodb.CollectionSource]
) -> None:
    one_by_one = Limits(batch_documents=1)  # After a resume such a page brings what was read before.
    database.things.insert_many([{"_id": number} for number in range(3)])
    database.create_collection("seen", viewOn="things", pipeline=[])
    batches = source("seen", retry_deadline_s=0.5, limits=one_by_one).read(Partition(0))
    with failing(database, 1_000_000, "getMore", errorCode=43):
        assert next(batches).position == bson.encode({"_id": 0})
        with pytest.raises(TransientError):
            next(batches)


def test_a_first_page_that_fails_is_asked_for_again(
    database: Documents, source: Callable[..., mongodb.CollectionSource], mixed: list[bytes]
) -> None:
    with failing(database, 3, "find", errorCode=43):
        assert read(source("mixed")) == mixed


@pytest.mark.parametrize("command", ["find", "getMore", "aggregate", "listCollections"])
def test_a_refusal_stops_the_route_at_once(
    database: Documents,
    mixed: list[bytes],
    in_threes: Callable[..., mongodb.CollectionSource],
    command: str,
) -> None:
    with failing(database, 1, command, errorCode=13), pytest.raises(PermanentError) as told:
        read(in_threes("mixed"), *in_threes("mixed").split(2))
    assert told.value.code == "E-SRC-AUTH"


def test_an_unknown_refusal_is_permanent_and_named(
    database: Documents, source: Callable[..., mongodb.CollectionSource], mixed: list[bytes]
) -> None:
    with failing(database, 1, "find", errorCode=96), pytest.raises(PermanentError) as told:
        read(source("mixed"))
    assert told.value.code == "E-SRC-REFUSED"
    assert "96" in told.value.message


@pytest.mark.parametrize(
    ("details", "expected"),
    [
        (
            {"errmsg": "`$sample` is not\n implemented", "codeName": "NotImplemented"},
            "NotImplemented, 238: `$sample` is not implemented",
        ),
        ({"errmsg": "Feature not supported: 'afterClusterTime'"}, "238: Feature not supported: 'afterClusterTime'"),
        (
            {"errmsg": 'bad value: { _id: "ann@example.com", n: { a: 1 } } in "ann@example.com"'},
            "238: bad value: {...} in ...",
        ),
        ({"errmsg": "x" * 500}, "238: " + "x" * 200),
        ({}, "238"),
    ],
)
def test_a_refusal_is_told_in_the_servers_words_without_values(details: Mapping[str, Any], expected: str) -> None:
    assert refusal(OperationFailure("as the driver has it", 238, dict(details))) == expected
    assert refusal(OperationFailure("as the driver has it")) == "no code"


def test_a_source_that_stays_away_ends_in_a_transient_error(tmp_path: Path, opened: Callable[..., MongoDB]) -> None:
    with servers.mongodb(tmp_path / "leaving") as url:
        database = opened("shop", url, retry_deadline_s=0.5)
        database._client.shop.things.insert_many([{"_id": number} for number in range(3000)])
        batches = database.source("things").read(Partition(0))
        assert len(next(batches).documents) == 1000
    with pytest.raises(TransientError) as told:
        list(batches)
    assert told.value.code == "E-SRC-AWAY"
    with pytest.raises(TransientError):
        database.source("things").check()


def test_a_wrong_password_is_refused_without_being_shown(tmp_path: Path, opened: Callable[..., MongoDB]) -> None:
    with servers.mongodb(tmp_path / "guarded", "--auth") as url:
        database = opened("shop", url.replace("mongodb://", "mongodb://reader:s3cr3t-word@"))
        with pytest.raises(PermanentError) as told:
            database.source("things").check()
    assert told.value.code == "E-SRC-AUTH"
    assert "s3cr3t-word" not in str(told.value)


@pytest.mark.parametrize(
    "url",
    [
        *("", "postgresql://h/d", "mongodb://", "mongodb://h:s3cr3t"),
        *("mongodb://h/?tls=s3cr3t", "mongodb://h/?tls=true&slt=s3cr3t", "mongodb://h/?tls=true&ssl=false"),
    ],
)
def test_a_text_that_is_no_connection_string_is_a_fault_of_the_plan(url: str) -> None:
    with pytest.raises(PlanError) as told:
        MongoDB(Connection(url, "shop"))
    assert told.value.code == "E-SRC-URI"
    assert "s3cr3t" not in str(told.value)


def test_the_options_of_a_connection_string_are_taken() -> None:
    options = (
        "replicaSet=rs&readPreference=nearest&readPreferenceTags=dc:a&readPreferenceTags=dc:b&compressors=zlib&tls=true"
    )
    MongoDB(Connection(f"mongodb://u:p@a,b:27018/d?{options}", "shop")).close()
