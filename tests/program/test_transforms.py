"""Transforms and queries from a plan to the target and back: verified, rejects told, the salt nowhere to be read."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable
from contextlib import nullcontext
from decimal import Decimal
from pathlib import Path
from typing import Any

import boto3
import bson
import pytest
import redis as redis_client
import yaml
from bson import DBRef, ObjectId
from hypothesis import given
from hypothesis import strategies as st
from plans import Stores, offramp, write_plan
from pymongo.database import Database
from strategies import ids

from flows.copying.projection import Mapped, Projection
from flows.plan.load import load
from flows.plan.model import Route
from mappers.contract import Losses
from mappers.documents.decoding import CODEC
from mappers.identity import encode
from mappers.redis.records import String
from mappers.redis.string import StringMapper
from stores.contract.journal import Reject
from stores.contract.source import Batch, Partition
from stores.errors import PlanError
from stores.mongodb.database import MongoDB

SALT = "a salt of many bytes"


ORDER_LINES: list[dict[str, Any]] = [
    {"explode": {"field": "items", "empty": "drop", "position": "line"}},
    {"cast": {"fields": {"items.price": "decimal", "items.quantity": "int"}}},
    {"move": {"items.price": "price", "items.quantity": "quantity"}},
    {"hash": {"fields": ["customer.email"], "salt": "${ORDER_SALT}"}},
    {"drop": ["items", "customer.name"]},
]


def orders(count: int) -> list[dict[str, Any]]:
    return [
        {
            "_id": number,
            "customer": {"email": f"someone{number % 3}@example.org", "name": f"Someone {number}"},
            "items": [{"price": f"{number}.10", "quantity": f"{n}"} for n in range(number % 4)],
        }
        for number in range(count)
    ]


def test_exploded_hashed_and_cast_documents_verify_and_damage_to_them_is_found(
    stores: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Path
) -> None:
    database.orders.insert_many(orders(40))
    route = {"use_case": "entity", "collection": "orders", "table": unique, "transforms": ORDER_LINES}
    path = write_plan(tmp_path, stores, database.name, {"lines": route})
    environment = {"ORDER_SALT": SALT}
    done = offramp("backfill", path, "--json", folder=tmp_path, environment=environment)
    assert done.code == 0, done.err
    row = done.route("lines")
    assert (row["read"], row["dropped"], row["rejected"], row["copied"]) == (40, 10, 0, 30)
    assert (row["records"], row["held"], row["verdict"]) == (60, 60, "clean")
    table = boto3.resource("dynamodb", region_name="eu-west-1", endpoint_url=stores.dynamodb).Table(unique)
    held = {item["_id"]: item for item in table.scan()["Items"]}
    line = held['j:{"parent":"n:7","position":"n:2"}']
    email = line["customer"]["email"]
    assert line == {
        "_id": 'j:{"parent":"n:7","position":"n:2"}',
        "customer": {"email": email},
        "line": 2,
        "price": Decimal("7.1"),
        "quantity": 2,
    }
    assert len({item["customer"]["email"] for item in held.values()}) == 3
    assert "@" not in str(held)
    state = (tmp_path / "state.db").read_bytes().decode("latin-1")
    reports = "".join(file.read_text() for file in tmp_path.rglob("report.*"))
    assert "lines" in reports
    for told in (done.out, done.err, state, reports):
        assert SALT not in told
        assert "example.org" not in told

    table.delete_item(Key={"_id": 'j:{"parent":"n:1","position":"n:0"}'})
    table.update_item(
        Key={"_id": 'j:{"parent":"n:2","position":"n:1"}'},
        UpdateExpression="SET quantity = :q",
        ExpressionAttributeValues={":q": 9},
    )
    table.put_item(Item={"_id": 'j:{"parent":"n:2","position":"n:2"}'})
    found = offramp("verify", path, "--json", folder=tmp_path, environment=environment)
    assert found.code == 1
    row = found.route("lines")
    assert (row["held"], row["missing"], row["differs"], row["extra"]) == (59, 1, 1, 1)

    other = offramp("backfill", path, "--json", folder=tmp_path, environment={"ORDER_SALT": SALT + "!"})
    assert (other.code, other.json["error"]["code"]) == (2, "E-CONFIG-CHANGED")
    assert SALT not in other.out + other.err


def test_a_document_that_a_transform_refuses_is_a_reject_and_none_of_its_parts_arrive(
    stores: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Path
) -> None:
    bad = {"_id": "bad", "items": [{"price": "1"}, {"price": "4111 secret"}, {"price": "1"}]}
    database.orders.insert_many([{"_id": 1, "items": [{"price": "007"}]}, bad, {"_id": 2, "items": 5}, {"_id": 3}])
    steps = [{"explode": {"field": "items"}}, {"cast": {"fields": {"items.price": "int"}}}]
    route = {
        "use_case": "session",
        "key": f"{unique}:{{_id}}",
        "transforms": steps,
        "accept_loss": ["cast_respelled"],
    }
    path = write_plan(tmp_path, stores, database.name, {"orders": route})
    done = offramp("backfill", path, "--json", folder=tmp_path)
    assert done.code == 1
    row = done.route("orders")
    assert (row["read"], row["rejected"], row["records"], row["held"], row["verdict"]) == (4, 3, 1, 1, "rejects")
    assert row["losses"] == {"cast_respelled": 1}
    told = offramp("status", path, folder=tmp_path).out
    for line in (
        "s:bad: transform: E-TRANSFORM-CAST items.price",
        "n:2: transform: E-TRANSFORM-ARRAY items",
        "n:3: transform: E-TRANSFORM-MISSING items",
    ):
        assert line in told
    assert "secret" not in told + done.out + done.err
    server = redis_client.Redis.from_url(stores.redis)
    (key,) = server.scan_iter(f"{unique}:*")
    assert server.get(key) == b'{"_id":{"parent":1,"position":0},"items":{"price":7}}'


OID = ObjectId("5f3b1c2d4e5f60718293a4b5")
QUERIES = [
    ("{at: {$gte: {$date: '2024-01-01T00:00:00Z'}}}", [2, 3]),
    ("{$or: [{owner: {$oid: 5f3b1c2d4e5f60718293a4b5}}, {name: {$regex: '^ada', $options: i}}]}", [0, 1, 3]),
    ("{$and: [{name: {$regex: a$}}, {$or: [{n: {$lt: 1}}, {at: {$lt: {$date: '2024-01-01T00:00:00Z'}}}]}]}", [0, 1]),
    ("{name: {$not: {$regex: '^ada', $options: i}}, n: {$in: [1, 2, 3]}}", [2, 3]),
    ("{_id: {$gte: 1, $lt: 3}}", [1, 2]),
]


@pytest.mark.parametrize(("query", "numbers"), QUERIES, ids=[query for query, _ in QUERIES])
def test_a_query_of_the_plan_is_answered_by_the_source(
    query: str, numbers: list[int], stores: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Path
) -> None:
    database.people.insert_many(
        [
            {"_id": 0, "n": 0, "name": "Ada", "at": dt.datetime(2023, 1, 1), "owner": None},
            {"_id": 1, "n": 1, "name": "ada", "at": dt.datetime(2023, 12, 31, 23, 59, 59, 999000), "owner": str(OID)},
            {"_id": 2, "n": 2, "name": "Bea", "at": dt.datetime(2024, 1, 1), "owner": ObjectId()},
            {"_id": 3, "n": 3, "name": "Cy", "at": dt.datetime(2025, 1, 1), "owner": OID},
        ]
    )
    where = yaml.safe_load(query)
    path = write_plan(
        tmp_path, stores, database.name, {"people": {"use_case": "cache", "key": f"{unique}:{{_id}}", "where": where}}
    )
    loaded = load(path)
    source = MongoDB(loaded.source)
    try:
        documents = [
            raw for batch in loaded.routes["people"].source(source).read(Partition(0)) for raw in batch.documents
        ]
    finally:
        source.close()
    # The source gives these and no others: nothing is left for the route to sort out.
    assert [bson.decode(raw)["_id"] for raw in documents] == numbers
    assert offramp("backfill", path, folder=tmp_path).code == 0
    server = redis_client.Redis.from_url(stores.redis)
    assert sorted(server.scan_iter(f"{unique}:*")) == [f"{unique}:n:{number}".encode() for number in numbers]


# --- without servers --------------------------------------------------------------------------------------------------

PLAN = """\
source: {uri: "mongodb://h", database: shop}
targets: {redis: {url: "redis://h"}}
routes:
  people:
    use_case: session
"""


@pytest.fixture
def route(tmp_path: Path) -> Callable[..., Route]:
    def route(keys: str, **environment: str) -> Route:
        (tmp_path / "plan.yaml").write_text(PLAN + "".join(f"    {line}\n" for line in keys.splitlines()))
        return load(tmp_path / "plan.yaml", environment).routes["people"]

    return route


def test_steps_are_part_of_what_a_run_resumes_by_and_no_salt_is_in_it(route: Callable[..., Route]) -> None:
    hashing = 'transforms: [{hash: {fields: [email], salt: "${SALT}"}}]'
    first = route(hashing, SALT=SALT)
    assert SALT not in str(first.fingerprint()) + repr(first)
    assert first.fingerprint() == route(hashing, SALT=SALT).fingerprint()
    assert first.fingerprint() != route(hashing, SALT=SALT + "!").fingerprint()
    in_order = route("transforms: [{drop: [a]}, {default: {a: 1}}]").fingerprint()
    assert in_order != route("transforms: [{default: {a: 1}}, {drop: [a]}]").fingerprint()
    plain = route("allow_empty: false").fingerprint()
    assert plain["transforms"] is None
    assert in_order["transforms"][0]["drop"] == ["a"]


def test_steps_come_after_fields_and_before_the_mapper(route: Callable[..., Route]) -> None:
    made = route("fields: {keep: [a]}\ntransforms:\n  - rename: {a: b}\n  - default: {c: 1}\nkey: 'k:{c}'")
    losses = Losses()
    projection = Projection(made.mapper(losses), losses, (String,), transformation=made.transformation(losses))
    assert projection.map(bson.encode({"_id": 1, "a": 2, "z": 3})) == Mapped([String("k:1", b'{"_id":1,"b":2,"c":1}')])


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ("expires: at\ntransforms: [{drop: [at]}]", "expires: is read after the transforms, and no document has at"),
        ("expires: {field: at}\ntransforms: [{rename: {at: until}}]", "transforms.0.rename removes at"),
        ("expires: at\ntransforms: [{select: [k]}]", "transforms.0.select does not keep it"),
        ("expires: at\nfields: {drop: [at]}\ntransforms: [{drop: [k]}]", "fields.drop removes at"),
        ("expires: at\ntransforms: [{cast: {fields: {at: string}}}]", "transforms.0.cast leaves no date in at"),
        ("expires: at\ntransforms: [{drop: [k]}, {embed: [at]}]", "transforms.1.embed leaves no date in at"),
        ("key: 'x:{k}'\ntransforms: [{drop: [k]}]", "key: is read after the transforms, and no document has k"),
        ("expires: until\ntransforms: [{move: {at: until}}]", ""),
        ("expires: at\ntransforms: [{cast: {fields: {at: string}}}, {cast: {fields: {at: date}}}]", ""),
        ("expires: at\ntransforms: [{drop: [at]}, {move: {k: at}}]", ""),
    ],
)
def test_a_field_that_a_transform_takes_from_its_mapper_is_a_fault(
    route: Callable[..., Route], keys: str, told: str
) -> None:
    """Without its date no record would ever expire, and the run would be clean."""
    with pytest.raises(PlanError) if told else nullcontext() as refused:
        route(keys)
    if refused is not None:
        assert told in str(refused.value)


def projection_of(route: Route) -> Projection:
    losses = Losses()
    mapper = StringMapper(StringMapper.Options(), "people", losses)
    return Projection(mapper, losses, (String,), transformation=route.transformation(losses))


@given(st.lists(st.tuples(ids(), st.integers(-1, 3)), max_size=6, unique_by=lambda one: encode(one[0])))
def test_every_document_is_dropped_rejected_or_copied_and_each_element_has_an_address(
    tmp_path_factory: pytest.TempPathFactory, numbers: list[tuple[Any, int]]
) -> None:
    path = tmp_path_factory.mktemp("plan") / "plan.yaml"
    path.write_text(PLAN + "    transforms: [{explode: {field: l, empty: drop}}, {cast: {fields: {l: int}}}]\n")
    projection = projection_of(load(path, {}).routes["people"])
    raw = [
        bson.encode({"_id": number, "l": ["x"] if count < 0 else [str(n) for n in range(count)]}, codec_options=CODEC)
        for number, count in numbers
        if not isinstance(number, DBRef)
    ]
    made = projection.batch(Batch(raw, b""))
    counts = [count for number, count in numbers if not isinstance(number, DBRef)]
    assert made.tally.read == len(raw) == made.tally.dropped + made.tally.rejected + made.tally.copied
    assert made.tally.dropped == counts.count(0)
    assert made.tally.rejected == counts.count(-1) == len(made.rejects)
    assert made.tally.records == sum(count for count in counts if count > 0) == len(made.records)
    assert len({record.address for record in made.records}) == len(made.records)
    assert {made.name(owner) for owner in made.owners} == {encode(number) for number, count in numbers if count > 0}
    assert {reject.stage for reject in made.rejects} <= {"transform"}


def test_the_plan_on_the_page_has_no_fault_and_no_leak(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "transforms.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    (tmp_path / "plan.yaml").write_text(
        "source: {uri: 'mongodb://h', database: shop}\ntargets: {dynamodb: {region: eu-west-1}}\n" + block
    )
    route = load(tmp_path / "plan.yaml", {"HASH_SALT": SALT}).routes["order_lines"]
    document = orders(4)[3]
    document["items"] = [{**item, "sku": f"s{n}"} for n, item in enumerate(document["items"])]
    made = list(route.transformation(Losses())(document))
    assert [each["_id"] for each in made] == [{"parent": 3, "element": f"s{n}"} for n in range(3)]
    assert [str(each["price"]) for each in made] == ["3.10"] * 3
    assert "omeone" not in str(made)


def test_an_own_mapper_gets_each_transformed_document(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "from mappers.redis import String\n"
        "def each(document):\n    yield String(str(document['_id']), document['l'].encode())\n"
    )
    (tmp_path / "plan.yaml").write_text(
        PLAN + "    use: own.py:each\n    transforms: [{explode: {field: l, id: k}}, {embed: [l]}]\n"
    )
    made = load(tmp_path / "plan.yaml", {}).routes["people"]
    losses = Losses()
    projection = Projection(made.mapper(losses), losses, (String,), transformation=made.transformation(losses))
    projected = projection.map(bson.encode({"_id": 1, "l": [{"k": "a"}, {"k": "b"}]}))
    assert not isinstance(projected, Reject)
    assert [record.address for record in projected.records] == [
        "{'parent': 1, 'element': 'a'}",
        "{'parent': 1, 'element': 'b'}",
    ]
