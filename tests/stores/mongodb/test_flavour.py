"""What a server is recognised as, and which abilities it has by that."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
from mongodbs import Documents, failing

from stores.errors import PermanentError
from stores.mongodb.configuration import Connection
from stores.mongodb.database import MongoDB
from stores.mongodb.flavour import Flavour, decide

SET: Mapping[str, Any] = {"setName": "rs0", "hosts": ["db1:27017"]}
AWS: Mapping[str, Any] = {"setName": "rs0", "hosts": ["shop.cluster-x.eu-west-1.docdb.amazonaws.com:27017"]}


def build(*version: int, **more: Any) -> Mapping[str, Any]:
    return {"version": ".".join(map(str, version)), "versionArray": [*version, 0], **more}


@pytest.mark.parametrize(
    ("hello", "build_info", "engine", "key", "expected"),
    [
        (SET, build(8, 0, 4), {}, None, Flavour("mongodb", (8, 0, 4))),
        ({}, build(4, 4, 1), {}, None, Flavour("mongodb", (4, 4, 1), replicated=False)),
        ({"msg": "isdbgrid"}, build(7, 0, 0), {}, None, Flavour("mongodb", (7, 0, 0), sharded=True)),
        # A server of scripted answers, or of a proxy, that answers every command with ok.
        (SET, build(8, 0, 4), {"ok": 1.0}, None, Flavour("mongodb", (8, 0, 4))),
        (SET, {}, {}, None, Flavour("mongodb", ())),
        (AWS, build(5, 0, 0), {"engineVersion": "3.0.17983"}, None, Flavour("documentdb", (5, 0), (3, 0, 17983))),
        (SET, build(8, 0, 0), {"engineVersion": "4.0.9"}, None, Flavour("documentdb", (8, 0), (4, 0, 9))),
        (SET, build(5, 0, 0), {"engineVersion": "5.0.2+3.0.12"}, None, Flavour("documentdb", (5, 0, 2), (3, 0, 12))),
        (AWS, build(4, 0, 0), {}, None, Flavour("documentdb", (4, 0))),
        (AWS, build(5, 0, 0), {"engineVersion": "unheard of"}, None, Flavour("documentdb", (5, 0))),
        (SET, build(9, 0, 0), {"engineVersion": "7.0.1"}, None, Flavour("documentdb", (9, 0), (7, 0, 1))),
        (
            {},
            build(7, 0, 42, ferretdbVersion="v1"),
            {},
            None,
            Flavour("other", (7, 0, 42), name="FerretDB", replicated=False),
        ),
        ({}, build(7, 0, 77, ferretdb={}), {}, None, Flavour("other", (7, 0, 77), name="FerretDB", replicated=False)),
        (
            {"setName": "globaldb", "hosts": ["shop.mongo.cosmos.azure.com:10255"]},
            *(build(4, 2, 0), {}, None, Flavour("other", (4, 2, 0), name="Azure Cosmos DB")),
        ),
        (SET, build(8, 0, 4), {}, "other", Flavour("other", (8, 0, 4), given=True)),
        (SET, build(8, 0, 4), {}, "documentdb-5.0", Flavour("documentdb", (5, 0), given=True)),
        (SET, build(5, 0, 0), {}, "documentdb", Flavour("documentdb", (5, 0), given=True)),
        (SET, build(8, 0, 4), {}, "mongodb-5.0.1", Flavour("mongodb", (5, 0, 1), given=True)),
        ({}, build(7, 0, 42, ferretdb={}), {}, "mongodb", Flavour("mongodb", (7, 0, 42), replicated=False, given=True)),
        (AWS, build(5, 0, 0), {"engineVersion": "3.0.9"}, "mongodb", Flavour("mongodb", (5, 0, 0), given=True)),
    ],
)
def test_a_server_is_recognised_by_its_answers_and_the_plan_overrides_them(
    hello: Mapping[str, Any],
    build_info: Mapping[str, Any],
    engine: Mapping[str, Any],
    key: str | None,
    expected: Flavour,
) -> None:
    assert decide(hello, build_info, engine, key) == expected


ABILITIES = sorted(name for name, each in vars(Flavour).items() if isinstance(each, property) and name != "bound_ways")


def abilities(flavour: Flavour) -> set[str]:
    return {name for name in ABILITIES if getattr(flavour, name)}


EVERY = {*ABILITIES} - {"stream_scopes"}
"""All that a MongoDB may have: its streams need not be turned on."""


def test_every_ability_is_one_of_the_newest_mongodb_and_follows_the_version() -> None:
    newest = Flavour("mongodb", (8, 2, 0))
    assert abilities(newest) == EVERY
    assert abilities(Flavour("mongodb")) == EVERY  # Of one that tells no version.
    assert abilities(replace(newest, version=(6, 0, 8))) == EVERY - {"split_events"}
    old = EVERY - {"split_events", "expanded_events", "pre_images"}
    assert abilities(replace(newest, version=(5, 0, 99))) == old
    assert abilities(replace(newest, sharded=True)) == EVERY - {"reopening_proof"}
    alone = {"causal_reads", "majority_reads", "staleness", "streams", "reopening_proof"}
    assert abilities(replace(newest, replicated=False)) == EVERY - alone


def test_amazon_documentdb_and_other_servers_have_what_their_manuals_promise() -> None:
    fifth = {"majority_reads", "streams", "stream_scopes", "statistics", "sample", "expressions", "nan"}
    assert abilities(Flavour("documentdb", (5, 0), (3, 0, 11799))) == fifth
    assert abilities(Flavour("documentdb", (5, 0), (3, 0, 11800))) == fifth | {"empty_answer_tokens"}
    assert abilities(Flavour("documentdb", (8, 0), (4, 0, 9))) == fifth | {"empty_answer_tokens", "views"}
    assert abilities(Flavour("documentdb", (3, 6))) == fifth - {"streams"}
    assert abilities(Flavour("other")) == {"secondary_reads", "statistics", "collection_uuid", "views"}


def test_a_flavour_is_described_for_people() -> None:
    assert Flavour("documentdb", (5, 0, 2)).describe() == "Amazon DocumentDB 5.0.2"
    assert Flavour("mongodb", (8, 0, 4)).describe() == "MongoDB 8.0.4"
    assert Flavour("other", (7, 0, 42), name="FerretDB").describe() == "FerretDB"
    assert Flavour("other").describe() == "another server"


@pytest.mark.parametrize("key", ["mongodb", "documentdb", "other", "documentdb-5.0", "documentdb-8.0.1", "mongodb-7"])
def test_a_plan_names_a_flavour(key: str) -> None:
    assert Connection("mongodb://127.0.0.1", "shop", flavour=key).flavour == key


@pytest.mark.parametrize(
    "key", ["", "MongoDB", "documentdb5", "documentdb-", "documentdb-5.x", "cosmos", "other-1.2.3.4"]
)
def test_another_flavour_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match="write mongodb, documentdb or other"):
        Connection("mongodb://127.0.0.1", "shop", flavour=key)


def test_a_connection_asks_once_what_the_server_is(
    database: Documents, opened: Callable[..., MongoDB], sent: list[Mapping[str, Any]]
) -> None:
    for name in ("things", "others"):
        database[name].insert_one({})
    mongo = opened(database.name)
    sent.clear()
    for name in ("things", "others"):
        assert not mongo.source(name).check()
        assert mongo.source(name).streaming().possible
    asked = [next(iter(command)) for command in sent]
    assert [name for name in asked if name in ("buildInfo", "getEngineVersion")] == ["buildInfo", "getEngineVersion"]


def test_a_plans_flavour_decides_what_is_sent(
    database: Documents, opened: Callable[..., MongoDB], sent: list[Mapping[str, Any]]
) -> None:
    database.things.insert_many([{"_id": own} for own in range(10)])
    source = opened(database.name, flavour="documentdb-5.0", read_preference="secondary").source("things")
    sent.clear()
    source.advance(1 << 32)
    assert source.count_by_type() == {"int": 10}
    (counted,) = [command for command in sent if "aggregate" in command]
    assert "afterClusterTime" not in counted["readConcern"]
    assert "secondary" not in str(counted.get("$readPreference"))
    refused = opened(database.name, flavour="other").source("things").streaming()
    assert not refused.possible
    assert "which has no change streams" in refused.reason


def test_a_server_that_refuses_to_say_what_it_is_counts_as_mongodb_and_a_refused_login_is_told(
    database: Documents, opened: Callable[..., MongoDB]
) -> None:
    database.things.insert_one({})
    with failing(database, 2, "buildInfo", "getEngineVersion", errorCode=13):
        assert opened(database.name)._client.flavour().product == "mongodb"
    with failing(database, 1, "buildInfo", errorCode=18), pytest.raises(PermanentError) as told:
        opened(database.name).source("things").check()
    assert told.value.code == "E-SRC-AUTH"
    with failing(database, 1, "getEngineVersion", errorCode=11600):
        opened(database.name).source("things").check()
