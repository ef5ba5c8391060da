"""R41: items over 400 KB, compressed, split and beside S3, held whole under the laws, and every damage seen."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import boto3
import orjson
import pytest
import zstandard
from botocore.awsrequest import AWSResponse

from mappers.dynamodb.records import Index, Item, Key, KeyAttribute, item, item_from_store, item_size
from stores.contract.target import Rejected
from stores.dynamodb.target import DynamoDBTarget
from stores.errors import PermanentError, PlanError
from stores.testing.laws import TargetLaws

LIMIT = 409_600
KEYS = {"compress": Key(), "s3": Key(), "split": Key("customer", "order")}
FOLDING = list(KEYS)


def noise(seed: object, size: int) -> str:
    """Text of so many characters that no compression makes much smaller than three quarters."""
    block = hashlib.shake_256(str(seed).encode()).digest(size * 3 // 4 + 3)
    return base64.b64encode(block).decode()[:size]


def big(how: str, name: str, **values: Any) -> Item:
    """An item under the key its policy needs."""
    fields = {"_id": name} if how != "split" else {"customer": "c", "order": name}
    return item({**fields, **values}, KEYS[how], oversize=True)


def oversize(how: str) -> dict[str, Any]:
    """Two fields that are too large together; what is compressed shrinks."""
    letter = "zebra " * 70_000 if how == "compress" else ""
    return {"small": 1, "lines": [noise(1, 100_000), letter], "more": letter or noise(2, 700_000), "bytes": b"\x00\xff"}


@pytest.fixture(scope="module")
def s3(dynamodb_endpoint: str) -> Any:
    return boto3.client("s3", endpoint_url=dynamodb_endpoint)


@pytest.fixture(scope="module")
def dynamodb(dynamodb_endpoint: str) -> Any:
    return boto3.client("dynamodb", endpoint_url=dynamodb_endpoint)


Make = Callable[..., DynamoDBTarget]


@pytest.fixture
def made(dynamodb_endpoint: str, unique: str, s3: Any) -> Iterator[Make]:
    """Make prepared targets of one table and one bucket."""
    s3.create_bucket(Bucket=unique, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    opened: list[DynamoDBTarget] = []

    def make(how: str, **placement: Any) -> DynamoDBTarget:
        connection = DynamoDBTarget.Connection(endpoint=dynamodb_endpoint, s3_endpoint=dynamodb_endpoint)
        if how == "s3":
            placement.setdefault("oversize_bucket", unique)
        keys = {"key": KEYS[how], "oversize": how, **placement}
        opened.append(DynamoDBTarget(connection, DynamoDBTarget.Placement(table=unique, **keys), "route"))
        opened[-1].prepare()
        return opened[-1]

    yield make
    for one in opened:
        one.close()


class Laws(TargetLaws):
    """The laws where records cross the limit in both directions; the store's own word is what its table holds."""

    how = ""

    @pytest.fixture
    def target(self, made: Make) -> DynamoDBTarget:
        return made(self.how)

    @pytest.fixture
    def another(self, made: Make) -> DynamoDBTarget:
        return made(self.how)

    @pytest.fixture
    def records(self) -> list[Item]:
        return [
            big(self.how, "grows", n=1),
            big(self.how, "shrinks", **oversize(self.how)),
            big(self.how, "changes", **oversize(self.how)),
            big(self.how, "small", n=1),
        ]

    @pytest.fixture
    def changed(self) -> list[Item]:
        return [
            big(self.how, "grows", **oversize(self.how)),
            big(self.how, "shrinks", n=1),
            big(self.how, "changes", **oversize(self.how), another="x" * 50_000),
            big(self.how, "small", n=2),
        ]

    @pytest.fixture
    def many(self) -> Callable[[int], list[Item]]:
        return lambda n: [big(self.how, f"many {number}", n=number) for number in range(n)]

    @pytest.fixture
    def peek(self, dynamodb: Any, s3: Any, unique: str) -> Callable[[str], Item | None]:
        def look(address: str) -> Item | None:
            answer = dynamodb.get_item(TableName=unique, Key=json.loads(address), ConsistentRead=True)
            if "Item" not in answer:
                return None
            found = answer["Item"]
            if "_overflow" in found:
                assert item_size(orjson.loads(item_from_store(found, KEYS[self.how]).body)) <= LIMIT
                found |= self.apart(found, dynamodb, s3, unique)
            return item_from_store(found, KEYS[self.how])

        return look

    @staticmethod
    def apart(found: dict[str, Any], dynamodb: Any, s3: Any, unique: str) -> dict[str, Any]:
        """Take the mark off and return the attributes that are held elsewhere, by these very steps."""
        mark = found.pop("_overflow")["M"]
        if "zstd" in mark:
            payload = mark["zstd"]["B"]
        elif "key" in mark:
            payload = s3.get_object(Bucket=unique, Key=mark["key"]["S"])["Body"].read()
        else:
            owner = hashlib.blake2b(orjson.dumps(found["order"]), digest_size=16).hexdigest()
            parts = dynamodb.query(
                TableName=unique,
                KeyConditionExpression="customer = :c AND begins_with(#o, :p)",
                ExpressionAttributeNames={"#o": "order"},
                ExpressionAttributeValues={
                    ":c": found["customer"],
                    ":p": {"S": f"_part#{owner}#{mark['sha256']['S'][:32]}#"},
                },
                ConsistentRead=True,
            )["Items"]
            payload = b"".join(one["_part"]["B"] for one in parts)
            assert len(parts) == int(mark["parts"]["N"])
        if "sha256" in mark:
            assert hashlib.sha256(payload).hexdigest() == mark["sha256"]["S"]
        moved = orjson.loads(zstandard.ZstdDecompressor().decompress(payload))
        return {name: binary(value) for name, value in moved.items()}

    @pytest.fixture
    def count(self, dynamodb: Any, s3: Any, unique: str) -> Callable[[], int]:
        """Items, and every piece too many: those that no item points at."""

        def counted() -> int:
            pages = dynamodb.get_paginator("scan").paginate(TableName=unique, ConsistentRead=True)
            found = [one for page in pages for one in page["Items"]]
            items = [one for one in found if "_part" not in one]
            marks = [one["_overflow"]["M"] for one in items if "_overflow" in one]
            objects = int(s3.list_objects_v2(Bucket=unique).get("KeyCount", 0))
            needed = sum(int(mark["parts"]["N"]) if "parts" in mark else "key" in mark for mark in marks)
            return len(found) + objects - needed

        return counted


class TestCompressed(Laws):
    how = "compress"


class TestSplit(Laws):
    how = "split"


class TestBesideS3(Laws):
    how = "s3"


def binary(value: Any) -> Any:
    return {"B": base64.b64decode(value["B"])} if isinstance(value, dict) and set(value) == {"B"} else value


@pytest.mark.parametrize("how", FOLDING)
def test_only_what_is_over_the_limit_is_folded(how: str, made: Make, dynamodb: Any, unique: str) -> None:
    target = made(how)
    base = item_size(orjson.loads(big(how, "x", text="").body))
    exact, over = (big(how, "x", text="z" * (LIMIT - base + more)) for more in (0, 1))
    for record, folded in ((exact, False), (over, True)):
        assert target.write([record]) == []
        [held] = [one for one in dynamodb.scan(TableName=unique)["Items"] if "_part" not in one]
        assert ("_overflow" in held) is folded
        assert target.read([record.address])[record.address].canonical() == record.canonical()


@pytest.mark.parametrize("how", FOLDING)
def test_keys_indexes_and_expiry_stay_where_dynamodb_looks_for_them(
    how: str, made: Make, dynamodb: Any, unique: str
) -> None:
    indexes = {"by_status": Index("status")}
    expiry = {} if how == "s3" else {"expires": "at", "ttl_attribute": "dies"}
    target = made(how, indexes=indexes, **expiry)
    # What must stay is the largest of many, so that it would be the first to go.
    many = {f"f{number}": noise(number, 1000) if how != "compress" else "z" * 1000 for number in range(500)}
    record = big(how, "x", status="s" * 2000, dies=4102444800, **many)
    assert target.write([record]) == []
    [held] = [one for one in dynamodb.scan(TableName=unique)["Items"] if "_overflow" in one]
    assert held["status"] == {"S": "s" * 2000}
    if expiry:
        assert held["dies"] == {"N": "4102444800"}
        parts = [one for one in dynamodb.scan(TableName=unique)["Items"] if "_part" in one]
        assert all(one["dies"] == {"N": "4102444800"} for one in parts)
        assert bool(parts) is (how == "split")


@pytest.mark.parametrize("how", FOLDING)
def test_what_looks_like_our_own_is_rejected_and_the_rest_is_written(how: str, made: Make) -> None:
    target = made(how)
    rejected = target.write([big(how, "a", n=1), big(how, "b", _overflow=1), big(how, "c", n={"_overflow": 1})])
    assert [(one.index, one.code) for one in rejected] == [(1, "E-NAME-COLLISION")]
    assert len(list(target.addresses())) == 2


def test_a_sort_key_that_looks_like_a_parts_is_rejected(made: Make) -> None:
    [rejected] = made("split").write([big("split", "_part#1")])
    assert rejected.code == "E-NAME-COLLISION"


def test_what_does_not_fit_compressed_is_rejected_by_size(made: Make) -> None:
    target = made("compress")
    [rejected] = target.write([big("compress", "x", text=noise(1, 800_000))])
    assert (rejected.code, rejected.index) == ("E-DDB-SIZE", 0)
    assert list(target.addresses()) == []


@pytest.mark.parametrize("how", ["split", "s3"])
def test_the_largest_document_of_mongodb_is_held(how: str, made: Make) -> None:
    target = made(how)
    record = big(how, "x", text=noise(1, 16 * 1024 * 1024))
    assert target.write([record]) == []
    assert target.read([record.address])[record.address].canonical() == record.canonical()
    assert list(target.addresses()) == [record.address]


def test_local_indexes_count_to_the_limit(made: Make, dynamodb: Any, unique: str) -> None:
    local = {"by_status": Index(sort="status", local=True)}
    target = made("split", indexes=local)
    record = big("split", "x", status="s", text="z" * 300_000)
    assert target.write([record]) == []
    assert any("_overflow" in one for one in dynamodb.scan(TableName=unique)["Items"])
    assert target.read([record.address])[record.address].canonical() == record.canonical()


def test_damage_of_what_is_compressed_is_seen(made: Make, dynamodb: Any, unique: str) -> None:
    target = made("compress")
    record = big("compress", "x", **oversize("compress"))
    target.write([record])
    [held] = dynamodb.scan(TableName=unique)["Items"]
    whole = held["_overflow"]["M"]["zstd"]["B"]
    other = zstandard.ZstdCompressor().compress(b'{"lines":{"S":"another"}}')
    for damaged in (whole[:-1], whole[:-40] + b"\x00" * 40, b"", b"no zstd", other):
        held["_overflow"]["M"]["zstd"]["B"] = damaged
        dynamodb.put_item(TableName=unique, Item=held)
        assert target.read([record.address])[record.address].canonical() != record.canonical()


@pytest.mark.parametrize("damage", ["gone", "changed", "short"])
@pytest.mark.parametrize("how", ["split", "s3"])
def test_damage_of_a_piece_is_seen(how: str, damage: str, made: Make, dynamodb: Any, s3: Any, unique: str) -> None:
    target = made(how)
    record = big(how, "x", **oversize(how))
    target.write([record])
    if how == "s3":
        [one] = s3.list_objects_v2(Bucket=unique)["Contents"]
        content = s3.get_object(Bucket=unique, Key=one["Key"])["Body"].read()
        if damage == "gone":
            s3.delete_object(Bucket=unique, Key=one["Key"])
        else:
            s3.put_object(Bucket=unique, Key=one["Key"], Body=damaged(content, damage))
    else:
        part = [one for one in dynamodb.scan(TableName=unique)["Items"] if "_part" in one][-1]
        if damage == "gone":
            dynamodb.delete_item(TableName=unique, Key={name: part[name] for name in ("customer", "order")})
        else:
            part["_part"]["B"] = damaged(part["_part"]["B"], damage)
            dynamodb.put_item(TableName=unique, Item=part)
    assert target.read([record.address])[record.address].canonical() != record.canonical()
    assert list(target.addresses()) == [record.address]
    assert target.write([record]) == []
    assert target.read([record.address])[record.address].canonical() == record.canonical()


def damaged(content: bytes, damage: str) -> bytes:
    return content[:-1] + (bytes([content[-1] ^ 1]) if damage == "changed" else b"")


@pytest.mark.parametrize("how", ["split", "s3"])
def test_pieces_are_held_before_the_item_that_points_at_them(
    how: str, made: Make, dynamodb: Any, s3: Any, unique: str
) -> None:
    target = made(how)
    record = big(how, "x", **oversize(how))
    events = target.calls.client().meta.events
    seen: list[bool] = []

    def stop(request: Any, **_: Any) -> None:
        if b"_overflow" in bytes(request.body):
            objects = int(s3.list_objects_v2(Bucket=unique).get("KeyCount", 0))
            seen.append(objects + dynamodb.scan(TableName=unique)["Count"] > 0)
            raise KeyboardInterrupt

    events.register("before-send.dynamodb.BatchWriteItem", stop)
    with pytest.raises(KeyboardInterrupt):
        target.write([record])
    events.unregister("before-send.dynamodb.BatchWriteItem", stop)
    assert seen == [True]
    # What was written is not yet a record, and is listed as what nothing points at; the run that resumes takes it over.
    orphans = list(target.addresses())
    assert target.read([record.address]) == {}
    assert orphans
    assert record.address not in orphans
    assert target.write([record]) == []
    assert list(target.addresses()) == [record.address]


@pytest.mark.parametrize("how", ["split", "s3"])
def test_pieces_that_nothing_points_at_are_listed_and_can_be_deleted(how: str, made: Make, dynamodb: Any) -> None:
    target = made(how)
    kept, lost = (big(how, name, **oversize(how)) for name in ("kept", "lost"))
    target.write([kept, lost])
    dynamodb.delete_item(TableName=target.territory.rstrip("\0"), Key=json.loads(lost.address))
    listed = set(target.addresses())
    assert listed > {kept.address}
    target.delete(sorted(listed - {kept.address}))
    assert list(target.addresses()) == [kept.address]
    assert target.read([kept.address])[kept.address].canonical() == kept.canonical()


def test_parts_that_expired_before_their_item_are_no_damage(made: Make, dynamodb: Any, unique: str) -> None:
    target = made("split", expires="at")
    for seconds, held in ((1_577_836_800, False), (4_102_444_800, True)):
        record = big("split", "x", _ttl=seconds, **oversize("split"))
        assert target.write([record]) == []
        part = next(one for one in dynamodb.scan(TableName=unique)["Items"] if "_part" in one)
        dynamodb.delete_item(TableName=unique, Key={name: part[name] for name in ("customer", "order")})
        assert (record.address in target.read([record.address])) is held


def test_a_part_that_is_refused_rejects_its_item_alone(made: Make) -> None:
    target = made("split")
    refusal = orjson.dumps({"__type": "x#ItemCollectionSizeLimitExceededException", "message": "secret"})

    def refuse(request: Any, **_: Any) -> AWSResponse | None:
        if b'"_part"' not in bytes(request.body):
            return None
        return AWSResponse("", 400, {}, SimpleNamespace(stream=lambda: iter([refusal])))

    target.calls.client().meta.events.register("before-send.dynamodb.BatchWriteItem", refuse)
    good = big("split", "good")
    rejected = target.write([big("split", "bad", **oversize("split")), good])
    assert [(one.index, one.code) for one in rejected] == [(0, "ItemCollectionSizeLimitExceededException")]
    assert rejected[0].reason.startswith("a part of it")
    assert list(target.addresses()) == [good.address]


def test_a_rejected_item_leaves_no_object_behind(made: Make, s3: Any, unique: str) -> None:
    target = made("s3")
    bad = Item(
        '{"_id":{"S":"x"}}',
        orjson.dumps({"_id": {"S": "x"}, "n": {"N": "9" * 39}, "text": {"S": noise(1, 500_000)}}),
    )
    assert [type(one) for one in target.write([bad])] == [Rejected]
    assert s3.list_objects_v2(Bucket=unique).get("KeyCount", 0) == 0


def test_a_bucket_that_is_not_there_is_a_fault_of_the_plan(
    made: Make, dynamodb_endpoint: str, dynamodb: Any, unique: str
) -> None:
    connection = DynamoDBTarget.Connection(endpoint=dynamodb_endpoint, s3_endpoint=dynamodb_endpoint)
    placement = DynamoDBTarget.Placement(table=f"{unique}-x", oversize="s3", oversize_bucket=f"{unique}-absent")
    target = DynamoDBTarget(connection, placement, "route")
    for act in (target.check, target.prepare):
        with pytest.raises(PlanError) as refused:
            act()
        assert refused.value.code == "E-S3-BUCKET"
    assert f"{unique}-x" not in dynamodb.list_tables()["TableNames"]


def test_a_bucket_that_goes_away_stops_the_route(made: Make, s3: Any, unique: str) -> None:
    target = made("s3")
    s3.delete_bucket(Bucket=unique)
    with pytest.raises(PermanentError) as stopped:
        target.write([big("s3", "x", **oversize("s3"))])
    assert stopped.value.code == "E-S3-BUCKET"
    assert list(target.read([big("s3", "x").address])) == []


@pytest.mark.parametrize(
    ("placement", "option"),
    [
        ({"oversize": "s3"}, "oversize_bucket"),
        ({"oversize_bucket": "b"}, "oversize_bucket"),
        ({"oversize": "split"}, "oversize"),
        ({"oversize": "split", "key": Key("a", KeyAttribute("b", type="N"))}, "oversize"),
        ({"oversize": "s3", "oversize_bucket": "b", "expires": "at"}, "oversize"),
    ],
)
def test_a_policy_that_cannot_be_served_is_refused(placement: dict[str, Any], option: str) -> None:
    with pytest.raises(ValueError, match=rf"^{option}: "):
        DynamoDBTarget(DynamoDBTarget.Connection(), DynamoDBTarget.Placement(**placement), "orders")
