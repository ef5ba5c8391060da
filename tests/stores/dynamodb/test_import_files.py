"""The files of an import, and the judgement of an import that does not end as it should."""

from __future__ import annotations

import gzip
import itertools
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import boto3
import orjson
import pytest
from botocore.awsrequest import AWSResponse

from mappers.dynamodb.records import Item, item
from stores.contract.stop import NEVER, PolledStop
from stores.contract.target import Staging
from stores.dynamodb.import_files import FILE_LIMIT
from stores.dynamodb.target import DynamoDBTarget
from stores.errors import PermanentError, TransientError

Place = Callable[..., DynamoDBTarget]
RECORDS = [item({"_id": str(number), "n": number}) for number in range(6)]


@pytest.fixture
def s3(dynamodb_endpoint: str, unique: str) -> Any:
    client = boto3.client("s3", endpoint_url=dynamodb_endpoint)
    client.create_bucket(Bucket=unique, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    return client


@pytest.fixture
def place(dynamodb_endpoint: str, unique: str, s3: Any) -> Iterator[Place]:
    made: list[DynamoDBTarget] = []

    def target(*, most_import_files: int = FILE_LIMIT, **connection: Any) -> DynamoDBTarget:
        reached = DynamoDBTarget.Connection(endpoint=dynamodb_endpoint, s3_endpoint=dynamodb_endpoint, **connection)
        placement = DynamoDBTarget.Placement(table=unique, load="import", import_bucket=unique)
        made.append(DynamoDBTarget(reached, placement, "route", most_import_files=most_import_files))
        return made[-1]

    yield target
    for one in made:
        one.close()


def staging(target: DynamoDBTarget) -> Staging[Item]:
    assert target.staging is not None
    return target.staging


def loaded(target: DynamoDBTarget, records: int, memory: dict[str, Any]) -> list[int]:
    """Load, remembering in `memory`; returns the progress that was told."""
    told: list[int] = []

    def keep(now: Any) -> None:
        memory.clear()
        memory.update(now)

    staging(target).load(records, dict(memory), keep, told.append, NEVER)
    return told


def files(s3: Any, bucket: str) -> dict[str, list[Any]]:
    """Return the lines of every file by its name."""
    listed = s3.list_objects_v2(Bucket=bucket).get("Contents", ())
    held = {one["Key"]: gzip.decompress(s3.get_object(Bucket=bucket, Key=one["Key"])["Body"].read()) for one in listed}
    return {name.rpartition("/")[2]: [orjson.loads(line) for line in text.splitlines()] for name, text in held.items()}


def test_a_batch_is_a_file_of_lines_whose_name_says_where_it_stands(place: Place, s3: Any, unique: str) -> None:
    stage = staging(place()).stage
    text = item({"_id": "text", "v": "a\u2028b\u2029c\u0085d\ne"})
    assert stage([*RECORDS[:2], text, RECORDS[0]], 3, 1000) == []
    assert stage([], 3, 2000) == []
    foreign = Item('{"pk":{"S":"x"}}', b'{"pk":{"S":"x"}}')
    large = Item('{"_id":{"S":"large"}}', orjson.dumps({"_id": {"S": "large"}, "v": {"S": "x" * 410_000}}))
    refused = stage([foreign, RECORDS[4], large], 4, 0)
    assert [(one.index, one.code) for one in refused] == [(0, "E-DDB-KEY"), (2, "E-DDB-SIZE")]
    assert [one.index for one in stage([Item(large.address, b"{}"), large], 5, 0)] == [1]
    held = files(s3, unique)
    assert {name: len(lines) for name, lines in held.items()} == {
        "00003-000000001000-4-3.json.gz": 3,
        "00004-000000000000-1-1.json.gz": 1,
        "00005-000000000000-1-0.json.gz": 0,  # The first counts as acknowledged: the last of an address stands for it.
    }
    lines = held["00003-000000001000-4-3.json.gz"]
    assert sorted(lines, key=str) == sorted([{"Item": orjson.loads(one.body)} for one in (text, *RECORDS[:2])], key=str)


def test_files_past_a_checkpoint_are_cut_off_and_others_stay(place: Place, s3: Any, unique: str) -> None:
    target = staging(place())
    for partition, first in itertools.product((1, 11), (0, 5, 10)):
        target.stage(RECORDS, partition, first)
    target.trim(1, 5)
    assert sorted(name[:18] for name in files(s3, unique)) == [
        "00001-000000000000",
        "00011-000000000000",
        "00011-000000000005",
        "00011-000000000010",
    ]
    target.clear()
    assert files(s3, unique) == {}


def test_files_that_are_not_those_written_are_never_imported(place: Place, s3: Any, unique: str) -> None:
    target = place()
    staging(target).stage(RECORDS, 0, 0)
    staging(target).stage(RECORDS, 0, 6)
    for records in (11, 13):
        with pytest.raises(PermanentError, match="stand for 12 records"):
            loaded(target, records, {})
    name = f"offramp-import/{unique}/route/staged/mine.json.gz"
    s3.put_object(Bucket=unique, Key=name, Body=b"")
    with pytest.raises(PermanentError, match=r"mine.json.gz.* was not written by offramp"):
        loaded(target, 12, {})
    s3.delete_object(Bucket=unique, Key=name)
    staging(target).stage(RECORDS[:3], 1, 0)
    staging(target).stage(RECORDS[3:4], 1, 0)
    with pytest.raises(PermanentError, match="something else wrote"):
        loaded(target, 16, {})
    assert target.check() == ()  # No table was made.


def test_more_files_than_an_import_takes_are_joined(place: Place, s3: Any, dynamodb_endpoint: str, unique: str) -> None:
    target = place(most_import_files=2)
    records = [item({"_id": f"{number}", "n": number}) for number in range(130)]
    for number, record in enumerate(records):
        assert staging(target).stage([record], number % 2, number) == []
    loaded(target, 130, {})
    server = boto3.client("dynamodb", endpoint_url=dynamodb_endpoint)
    [made] = [
        one for one in server.list_imports(PageSize=25)["ImportSummaryList"] if one["TableArn"].endswith(f"/{unique}")
    ]
    assert made["S3BucketSource"]["S3KeyPrefix"].endswith("/merged/")
    addresses = [record.address for record in records]
    assert {one.address: one.canonical() for one in target.read(addresses).values()} == {
        record.address: record.canonical() for record in records
    }
    assert files(s3, unique) == {}


def answers(target: DynamoDBTarget, **changed: Any) -> Callable[[], int]:
    """Have every description of an import say this instead; returns how to count them."""
    asked = itertools.count()

    def answer(request: Any, **_: Any) -> AWSResponse:
        next(asked)
        described = {"ImportArn": "arn/import/77", "ClientToken": "x", "CloudWatchLogGroupArn": "logs:group", **changed}
        body = orjson.dumps({"ImportTableDescription": described})
        return AWSResponse("", 200, {}, SimpleNamespace(stream=lambda: iter([body])))

    target.calls.client().meta.events.register("before-send.dynamodb.DescribeImport", answer)
    return lambda: next(asked)


def test_an_import_that_takes_too_long_is_awaited_again_by_the_next_run(
    place: Place, dynamodb_endpoint: str, unique: str
) -> None:
    memory: dict[str, Any] = {}
    impatient = place(import_deadline_s=0.3)
    staging(impatient).stage(RECORDS, 0, 0)
    answers(impatient, ImportStatus="IN_PROGRESS", ProcessedItemCount=2)
    with pytest.raises(TransientError, match="IN_PROGRESS, 2 items processed after 0 s; the import goes on"):
        loaded(impatient, 6, memory)
    with pytest.raises(TransientError, match="stopped by a signal; the import goes on"):
        staging(impatient).load(6, memory, memory.update, lambda _: None, PolledStop(lambda: True))
    assert sum(loaded(place(), 6, memory)) == 6
    server = boto3.client("dynamodb", endpoint_url=dynamodb_endpoint)
    listed = server.list_imports(PageSize=25)["ImportSummaryList"]
    assert sum(one["TableArn"].endswith(f"/{unique}") for one in listed) == 1
    assert loaded(place(), 6, memory) == []


@pytest.mark.parametrize("counts", [(5, 6, 0), (7, 6, 0), (6, 5, 0), (6, 6, 1)])
def test_an_import_whose_counts_are_not_those_of_the_files_is_no_success_ever(
    counts: tuple[int, int, int], place: Place
) -> None:
    memory: dict[str, Any] = {}
    target = place()
    staging(target).stage(RECORDS, 0, 0)
    processed, imported, errors = counts
    names = {"ProcessedItemCount": processed, "ImportedItemCount": imported, "ErrorCount": errors}
    answers(target, ImportStatus="COMPLETED", **names)
    told = f"6 items in the files, {processed} processed, {imported} imported, {errors} errors"
    for again in (target, place()):
        with pytest.raises(PermanentError, match=told) as raised:
            loaded(again, 6, memory)
        assert raised.value.code == "E-DDB-IMPORT-COUNT"
        assert "logs:group, stream 77/error" in raised.value.message
    assert staging(target).held(memory)


def test_an_import_that_ended_before_it_made_a_table_is_tried_again_with_the_same_files(place: Place) -> None:
    memory: dict[str, Any] = {}
    target = place()
    staging(target).stage(RECORDS, 0, 0)
    memory |= {"token": "x", "arn": "arn/import/77", "items": 6, "prefix": "p"}
    answers(target, ImportStatus="CANCELLED", FailureCode="S3AccessDenied")
    with pytest.raises(PermanentError, match="ended CANCELLED S3AccessDenied") as raised:
        loaded(target, 6, memory)
    assert raised.value.code == "E-DDB-IMPORT-FAILED"
    again = place()
    assert sum(loaded(again, 6, memory)) == 6
    assert len(again.read([one.address for one in RECORDS])) == 6


def test_a_table_of_another_is_never_taken_for_the_import(place: Place, dynamodb_endpoint: str, unique: str) -> None:
    memory: dict[str, Any] = {}
    staging(place()).stage(RECORDS, 0, 0)
    server = boto3.client("dynamodb", endpoint_url=dynamodb_endpoint)
    server.create_table(
        TableName=unique,
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": "_id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "_id", "AttributeType": "S"}],
    )
    for _ in range(2):
        with pytest.raises(PermanentError, match="by no import known") as raised:
            loaded(place(), 6, memory)
        assert raised.value.code == "E-DDB-EXISTS"
    assert server.scan(TableName=unique)["Count"] == 0
