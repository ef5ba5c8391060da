"""Tables as a plan wants them: typed keys, indexes, settings of creation, and tables that several routes share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import boto3
import orjson
import pytest

from mappers.contract import Losses
from mappers.dynamodb.mapper import ItemMapper
from mappers.dynamodb.records import Index, Item, Key, KeyAttribute, item
from stores.dynamodb.table import Wanted, creation
from stores.dynamodb.target import DynamoDBTarget
from stores.errors import PlanError

Place = Callable[..., DynamoDBTarget]
TYPED = Key(KeyAttribute("n", type="N"), KeyAttribute("b", type="B"))
WIDE = Key("customer", "order")
INDEXES = {
    "by_status": Index("status", KeyAttribute("at", type="N"), projection=["total", "name"]),
    "by_blob": Index(KeyAttribute("blob", type="B"), projection="keys"),
    "by_total": Index(sort=KeyAttribute("total", type="N"), local=True),
}


@pytest.fixture(scope="module")
def server(dynamodb_endpoint: str) -> Any:
    return boto3.client("dynamodb", endpoint_url=dynamodb_endpoint)


@pytest.fixture
def place(dynamodb_endpoint: str, unique: str) -> Iterator[Place]:
    made: list[DynamoDBTarget] = []

    def target(route: str = "route", **placement: Any) -> DynamoDBTarget:
        connection = DynamoDBTarget.Connection(endpoint=dynamodb_endpoint)
        made.append(DynamoDBTarget(connection, DynamoDBTarget.Placement(table=unique, **placement), route))
        return made[-1]

    yield target
    for one in made:
        one.close()


def test_a_table_of_typed_keys_is_created_written_read_listed_and_deleted(
    place: Place, server: Any, unique: str
) -> None:
    target = place(key=TYPED)
    first = target.prepare()
    assert place(key=TYPED).prepare() == first
    table = server.describe_table(TableName=unique)["Table"]
    assert {one["AttributeName"]: one["AttributeType"] for one in table["AttributeDefinitions"]} == {"n": "N", "b": "B"}
    records = [item({"n": number / 4, "b": bytes([number]), "v": number}, TYPED) for number in range(30)]
    assert target.write(records) == []
    held = target.read([one.address for one in records])
    assert {name: one.canonical() for name, one in held.items()} == {one.address: one.canonical() for one in records}
    assert sorted(target.addresses()) == sorted(held)
    target.delete([one.address for one in records[1:]])
    assert list(target.addresses()) == [records[0].address]
    with pytest.raises(PlanError) as refused:
        place(key=Key("n", KeyAttribute("b", type="B"))).check()
    assert refused.value.code == "E-DDB-KEYS"
    assert "(n N, b B)" in refused.value.message


def test_indexes_are_created_with_the_table_and_found_again(place: Place, server: Any, unique: str) -> None:
    target = place(key=WIDE, indexes=INDEXES)
    target.prepare()
    table = server.describe_table(TableName=unique)["Table"]
    made = {
        one["IndexName"]: ([key["AttributeName"] for key in one["KeySchema"]], one["Projection"]["ProjectionType"])
        for kind in ("Global", "Local")
        for one in table[f"{kind}SecondaryIndexes"]
    }
    assert made == {
        "by_status": (["status", "at"], "INCLUDE"),
        "by_blob": (["blob"], "KEYS_ONLY"),
        "by_total": (["customer", "total"], "ALL"),
    }
    assert target.check() == []
    reordered = INDEXES["by_status"].projection[::-1]
    again = {**INDEXES, "by_status": Index("status", KeyAttribute("at", type="N"), projection=reordered)}
    assert place(key=WIDE, indexes=again).check() == []


@pytest.mark.parametrize(
    "index",
    [
        Index("status"),
        Index("status", "at", projection=["total", "name"]),
        Index("status", KeyAttribute("at", type="N")),
        Index("status", KeyAttribute("at", type="N"), projection=["total"]),
        Index("total", KeyAttribute("at", type="N"), projection=["total", "name"]),
        Index(sort=KeyAttribute("at", type="N"), local=True, projection=["total", "name"]),
    ],
)
def test_an_index_that_is_another_is_refused(place: Place, index: Index) -> None:
    place(key=WIDE, indexes={"by_status": INDEXES["by_status"]}).prepare()
    target = place(key=WIDE, indexes={"by_status": index})
    for act in (target.check, target.prepare):
        with pytest.raises(PlanError) as refused:
            act()
        assert refused.value.code == "E-DDB-INDEXES"
        assert "'by_status'" in refused.value.message


def test_an_index_that_is_missing_is_refused_and_one_too_many_is_told(place: Place) -> None:
    place(key=WIDE, indexes={"by_status": INDEXES["by_status"]}).prepare()
    with pytest.raises(PlanError) as refused:
        place(key=WIDE, indexes=INDEXES).check()
    assert "no index 'by_blob'" in refused.value.message
    [warning] = place(key=WIDE).check()
    assert "by_status" in warning


MISFITS = [None, "", 7, True, ["a"], {"a": 1}, b"x"]


@pytest.mark.parametrize("value", MISFITS, ids=repr)
def test_what_would_poison_a_write_is_refused_by_the_server_and_never_gets_there(
    place: Place, server: Any, unique: str, value: Any
) -> None:
    target = place(indexes={"by_status": Index("status")})
    target.prepare()
    [plain] = ItemMapper(ItemMapper.Options(), "r", Losses())({"_id": 1, "status": value})
    assert len(target.write([plain])) == 1
    for policy in ("omit", "coerce"):
        options = ItemMapper.Options(indexes={"by_status": Index("status")}, index_mismatch=policy)
        records = list(ItemMapper(options, "r", Losses())({"_id": 1, "status": value}))
        assert target.write(records) == []
        assert target.read([records[0].address])[records[0].address].canonical() == records[0].canonical()


def test_sets_read_back_as_written(place: Place) -> None:
    target = place()
    target.prepare()
    options = ItemMapper.Options(sets=["s", "n", "b"])
    [one] = ItemMapper(options, "r", Losses())({"_id": 1, "s": ["b", "a"], "n": [2, 1.5, 10], "b": [b"b", b"a"]})
    assert target.write([one]) == []
    assert target.read([one.address])[one.address].canonical() == one.canonical()


def test_settings_of_creation_reach_the_table(place: Place, server: Any, unique: str) -> None:
    target = place(
        table_class="infrequent_access",
        encryption="aws_managed",
        tags={"team": "shop", "stage": "é"},
        deletion_protection=True,
        point_in_time_recovery=True,
    )
    target.prepare()
    table = server.describe_table(TableName=unique)["Table"]
    assert table["TableClassSummary"]["TableClass"] == "STANDARD_INFREQUENT_ACCESS"
    assert table["SSEDescription"]["SSEType"] == "KMS"
    assert table["DeletionProtectionEnabled"] is True
    tags = server.list_tags_of_resource(ResourceArn=table["TableArn"])["Tags"]
    assert {one["Key"]: one["Value"] for one in tags} == {"team": "shop", "stage": "é"}
    assert recovery(server, unique) == "ENABLED"
    server.update_table(TableName=unique, DeletionProtectionEnabled=False)


def test_recovery_is_turned_on_for_a_table_that_exists(place: Place, server: Any, unique: str) -> None:
    place().prepare()
    assert recovery(server, unique) == "DISABLED"
    place(point_in_time_recovery=True).check()
    assert recovery(server, unique) == "DISABLED"
    for _ in range(2):
        place(point_in_time_recovery=True).prepare()
        assert recovery(server, unique) == "ENABLED"


def recovery(server: Any, table: str) -> str:
    described = server.describe_continuous_backups(TableName=table)["ContinuousBackupsDescription"]
    return str(described["PointInTimeRecoveryDescription"]["PointInTimeRecoveryStatus"])


def test_the_request_that_creates_a_table_says_all_of_it() -> None:
    wanted = Wanted(
        key=WIDE,
        indexes=INDEXES,
        billing="provisioned",
        read_units=3,
        write_units=4,
        expires=False,
        ttl_attribute="_ttl",
        table_class="standard",
        encryption="alias/mine",
        tags={},
        deletion_protection=False,
        point_in_time_recovery=False,
    )
    made = creation(wanted)
    units = {"ReadCapacityUnits": 3, "WriteCapacityUnits": 4}
    assert made["ProvisionedThroughput"] == units
    assert [one.get("ProvisionedThroughput") for one in made["GlobalSecondaryIndexes"]] == [units, units]
    assert "ProvisionedThroughput" not in made["LocalSecondaryIndexes"][0]
    assert made["SSESpecification"] == {"Enabled": True, "SSEType": "KMS", "KMSMasterKeyId": "alias/mine"}
    assert not {"TableClass", "Tags", "DeletionProtectionEnabled"} & made.keys()
    types = {one["AttributeName"]: one["AttributeType"] for one in made["AttributeDefinitions"]}
    assert types == {"customer": "S", "order": "S", "status": "S", "at": "N", "blob": "B", "total": "N"}


# --- one table for several routes -------------------------------------------------------------------------------------

USERS = Key(KeyAttribute("pk", value="USER#{_id}"), KeyAttribute("sk", value="PROFILE"))
REVIEWS = Key(KeyAttribute("pk", value="USER#{user}"), KeyAttribute("sk", value="REVIEW#{_id}"))


def made(key: Key, document: dict[str, Any]) -> Item:
    [one] = ItemMapper(ItemMapper.Options(key=key), "r", Losses())(document)
    return one


def test_a_route_of_a_shared_table_lists_its_own_items_only(place: Place) -> None:
    users, reviews = place("users", key=USERS, shared=True), place("reviews", key=REVIEWS, shared=True)
    assert users.prepare() == reviews.prepare()
    user = made(USERS, {"_id": 1})
    written = [made(REVIEWS, {"_id": number, "user": "n:1"}) for number in range(3)]
    assert users.write([user]) == []
    assert reviews.write(written) == []
    assert list(users.addresses()) == [user.address]
    assert sorted(reviews.addresses()) == sorted(one.address for one in written)
    assert len(list(place(key=USERS).addresses())) == 4


def test_a_route_of_a_shared_table_writes_nothing_into_anothers(place: Place) -> None:
    users = place("users", key=USERS, shared=True)
    users.prepare()
    good, bad = made(USERS, {"_id": 1}), made(REVIEWS, {"_id": 1, "user": "n:1"})
    other = item({"pk": "USER#x", "sk": "PROFILE of another"}, USERS)
    assert [(one.index, one.code) for one in users.write([bad, good, other])] == [
        (0, "E-DDB-TERRITORY"),
        (2, "E-DDB-TERRITORY"),
    ]
    assert list(place(key=USERS).addresses()) == [good.address]


def test_a_table_is_shared_by_what_keys_begin_with() -> None:
    connection = DynamoDBTarget.Connection()
    with pytest.raises(ValueError, match=r"^shared: "):
        DynamoDBTarget(connection, DynamoDBTarget.Placement(shared=True), "users")
    with pytest.raises(ValueError, match=r"^shared: "):
        DynamoDBTarget(connection, DynamoDBTarget.Placement(shared=True, key=Key("{a}", "{b}")), "users")
    target = DynamoDBTarget(connection, DynamoDBTarget.Placement(table="app", shared=True, key=USERS), "users")
    assert target.territory == "app\0\x01USER#\x01PROFILE\0"


def test_an_items_expiry_and_binary_key_survive_the_address(place: Place) -> None:
    [one] = ItemMapper(ItemMapper.Options(key=Key(KeyAttribute("_id", type="B"))), "r", Losses())({"_id": b"\x00\xff"})
    assert orjson.loads(one.address) == {"_id": {"B": "AP8="}}
    target = place(key=Key(KeyAttribute("_id", type="B")))
    target.prepare()
    assert target.write([one]) == []
    assert list(target.addresses()) == [one.address]
    assert target.read([one.address])[one.address].canonical() == one.canonical()
