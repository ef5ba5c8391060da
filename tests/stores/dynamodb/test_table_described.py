"""What `check` says of tables as AWS describes them; nothing here depends on a server, so moto answers in-process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws

from stores.dynamodb.target import DynamoDBTarget
from stores.errors import PlanError

REGION = "eu-west-1"


@pytest.fixture(autouse=True)
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with mock_aws():
        yield


def make(**changes: Any) -> None:
    boto3.client("dynamodb", region_name=REGION).create_table(
        **{
            "TableName": "orders",
            "KeySchema": [{"AttributeName": "_id", "KeyType": "HASH"}],
            "AttributeDefinitions": [{"AttributeName": "_id", "AttributeType": "S"}],
            "BillingMode": "PAY_PER_REQUEST",
            **changes,
        }
    )


def target(**placement: Any) -> DynamoDBTarget:
    return DynamoDBTarget(DynamoDBTarget.Connection(region=REGION), DynamoDBTarget.Placement(**placement), "orders")


def test_an_absent_table_and_one_as_planned_are_fine() -> None:
    assert list(target().check()) == []
    make()
    assert list(target().check()) == []


def test_a_stream_on_the_table_is_worth_a_warning() -> None:
    """R59: every item written reaches the stream's consumers."""
    make(StreamSpecification={"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"})
    (note,) = target().check()
    assert "W-DDB-STREAM" in note


def test_a_numeric_key_is_refused_with_both_keys_named() -> None:
    make(AttributeDefinitions=[{"AttributeName": "_id", "AttributeType": "N"}])
    with pytest.raises(PlanError) as refused:
        target().check()
    assert refused.value.code == "E-DDB-KEYS"
    assert "_id N" in refused.value.message
    assert "_id S" in refused.value.message


def test_another_billing_mode_is_kept_and_told() -> None:
    make(BillingMode="PROVISIONED", ProvisionedThroughput={"ReadCapacityUnits": 5, "WriteCapacityUnits": 5})
    (note,) = target().check()
    assert "provisioned" in note
