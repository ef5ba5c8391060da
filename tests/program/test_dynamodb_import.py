"""`load: import`: a route's items go through files in S3 into a table that DynamoDB makes of them, once, and proven."""

from __future__ import annotations

import base64
import hashlib
import itertools
import re
import signal
import sqlite3
import threading
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pytest
from plans import Stores, offramp, start, write_plan
from pymongo.database import Database
from waiting import until

from flows.plan.load import load
from flows.plan.model import Plan
from flows.run import backfill as engine
from flows.run.stages import status
from flows.run.verify import verify
from flows.run.workers import Run, Threads
from mappers.contract import Losses
from stores.contract.stop import PolledStop
from stores.contract.target import staging_of
from stores.errors import PlanError, TransientError
from stores.state.designs import Designs
from stores.state.leases import Lease


@pytest.fixture
def dynamodb(dynamodb_endpoint: str) -> Any:
    return boto3.client("dynamodb", endpoint_url=dynamodb_endpoint)


@pytest.fixture
def s3(dynamodb_endpoint: str, unique: str) -> Any:
    client = boto3.client("s3", endpoint_url=dynamodb_endpoint)
    client.create_bucket(Bucket=unique, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    return client


@pytest.fixture
def planned(
    mongodb_url: str, dynamodb_endpoint: str, database: Database[dict[str, Any]], s3: Any, unique: str, tmp_path: Path
) -> Callable[..., Plan]:
    """Load a plan of one route, `things`, that is imported by way of the test's bucket."""

    def plan(**route: Any) -> Plan:
        keys = {"use_case": "entity", "table": unique, "load": "import", "import_bucket": unique, **route}
        stores = Stores(mongodb_url, "", dynamodb_endpoint, "")
        both = {"region": "eu-west-1", "endpoint": dynamodb_endpoint, "s3_endpoint": dynamodb_endpoint}
        targets = {"dynamodb": {**both, "retry_deadline_s": 10}}
        path = write_plan(tmp_path, stores, database.name, {"things": keys}, targets=targets)
        return load(path, {})

    return plan


def backfill(plan: Plan, *, enough: Callable[[], bool] = lambda: False, restart: bool = False) -> Any:
    """Run to the end, or stop once this is enough; returns the route's row."""
    stop = threading.Event()

    def stopped() -> bool:
        """Stop the copying, and then the run."""
        if enough():
            stop.set()
        return stop.is_set()

    run = Run(plan, list(plan.routes.values()), Threads(plan, stop=PolledStop(stopped, every_s=0)), stop)
    return engine.backfill(run, "full", restart=restart).routes[0]


def verified(plan: Plan) -> Any:
    return verify(Run(plan, list(plan.routes.values()), Threads(plan)), "full").routes[0]


def imports(dynamodb: Any, table: str) -> int:
    """Return how many imports into tables of this name there were."""
    listed = dynamodb.list_imports(PageSize=25)["ImportSummaryList"]
    return sum(one["TableArn"].endswith(f"/{table}") for one in listed)


def names(s3: Any, bucket: str) -> list[str]:
    return [one["Key"] for one in s3.list_objects_v2(Bucket=bucket).get("Contents", ())]


def noise(size: int) -> str:
    return base64.b64encode(hashlib.shake_256(b"noise").digest(size)).decode()


FAR = datetime(2090, 1, 1, tzinfo=UTC)
SETTINGS = {
    "indexes": {"by_status": {"partition": "status"}},
    "expires": "until",
    "tags": {"team": "shop"},
    "table_class": "infrequent_access",
    "deletion_protection": True,
    "point_in_time_recovery": True,
    "encryption": "aws_managed",
    "partitions": 3,
}


def things(count: int) -> list[dict[str, Any]]:
    return [
        {
            "_id": n,
            "status": "open" if n % 2 else "done",
            "until": FAR,
            "text": f"a\u2028b\u0085c{n}",
            "blob": b"\x00\xff",
        }
        for n in range(count)
    ]


def test_a_route_is_imported_as_planned_and_proven_and_never_imported_twice(
    planned: Callable[..., Plan],
    database: Database[dict[str, Any]],
    dynamodb: Any,
    s3: Any,
    unique: str,
) -> None:
    database.things.insert_many(things(400))
    database.things.insert_one({"_id": "large", "status": "open", "text": noise(400_000)})
    plan = planned(**SETTINGS)
    row = backfill(plan)
    assert (row.read, row.rejected, row.records, row.held, row.extra) == (401, 1, 400, 400, 0), row.reasons
    assert row.verdict == "rejects"
    table = dynamodb.describe_table(TableName=unique)["Table"]
    assert table["DeletionProtectionEnabled"]
    assert table["TableClassSummary"]["TableClass"] == "STANDARD_INFREQUENT_ACCESS"
    assert table["SSEDescription"]["SSEType"] == "KMS"
    assert dynamodb.list_tags_of_resource(ResourceArn=table["TableArn"])["Tags"] == [{"Key": "team", "Value": "shop"}]
    ttl = dynamodb.describe_time_to_live(TableName=unique)["TimeToLiveDescription"]
    assert (ttl["TimeToLiveStatus"], ttl["AttributeName"]) == ("ENABLED", "_ttl")
    backups = dynamodb.describe_continuous_backups(TableName=unique)["ContinuousBackupsDescription"]
    assert backups["PointInTimeRecoveryDescription"]["PointInTimeRecoveryStatus"] == "ENABLED"
    assert dynamodb.scan(TableName=unique, IndexName="by_status", Select="COUNT")["Count"] == 400
    assert names(s3, unique) == []

    assert backfill(plan).verdict == "rejects"
    assert imports(dynamodb, unique) == 1
    dynamodb.put_item(TableName=unique, Item={"_id": {"S": "ghost"}})
    dynamodb.delete_item(TableName=unique, Key={"_id": {"S": "n:7"}})
    dynamodb.put_item(TableName=unique, Item={"_id": {"S": "n:8"}, "status": {"S": "else"}})
    found = verified(plan)
    assert (found.missing, found.differs, found.extra) == (1, 1, 1)
    assert backfill(plan).missing == 1
    assert imports(dynamodb, unique) == 1


def test_a_table_that_stands_is_refused_before_anything_is_forgotten_or_written(
    planned: Callable[..., Plan], database: Database[dict[str, Any]], dynamodb: Any, s3: Any, unique: str
) -> None:
    database.things.insert_many(things(30))
    key = {"AttributeName": "_id"}
    dynamodb.create_table(
        TableName=unique,
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[{**key, "KeyType": "HASH"}],
        AttributeDefinitions=[{**key, "AttributeType": "S"}],
    )
    plan = planned()
    with pytest.raises(PlanError, match="exists, but an import creates its table") as refused:
        backfill(plan)
    assert refused.value.code == "E-DDB-EXISTS"
    assert status(plan)[0]["stage"] == "not begun"
    dynamodb.delete_table(TableName=unique)
    assert backfill(plan).verdict == "clean"
    with pytest.raises(PlanError, match="delete it"):
        backfill(plan, restart=True)
    assert (status(plan)[0]["stage"], verified(plan).verdict) == ("copied", "clean")

    database.things.update_one({"_id": 3}, {"$set": {"status": "changed"}})
    dynamodb.delete_table(TableName=unique)
    assert "recreated" in backfill(plan).reasons[0]
    row = backfill(plan, restart=True)
    assert (row.verdict, row.held) == ("clean", 30)
    assert dynamodb.get_item(TableName=unique, Key={"_id": {"S": "n:3"}})["Item"]["status"] == {"S": "changed"}
    assert (imports(dynamodb, unique), names(s3, unique)) == (2, [])


def test_no_file_of_a_superseded_attempt_is_imported(
    planned: Callable[..., Plan], database: Database[dict[str, Any]], dynamodb: Any, s3: Any, unique: str
) -> None:
    database.things.insert_many({"_id": n, "v": "old"} for n in range(5200))
    plan = planned(partitions=1)
    route = plan.routes["things"]
    mapper = route.mapper(Losses())
    old = [record for n in range(5200) for record in mapper({"_id": n, "v": "old"})]
    staging = staging_of(target := route.target())
    assert staging is not None
    staging.stage(old, 7, 0)  # A file of a run whose state was lost.
    stopped = backfill(plan, enough=lambda: len(names(s3, unique)) > 1)
    assert stopped.verdict == "stopped"
    assert 0 < stopped.read < 4500
    # Batches that were acknowledged, but not their checkpoints; then their documents change.
    staging.stage(old[stopped.read : stopped.read + 600], 0, stopped.read)
    staging.stage(old[stopped.read + 600 :], 0, stopped.read + 600)
    target.close()
    database.things.update_many({"_id": {"$gte": stopped.read}}, {"$set": {"v": "new"}})
    row = backfill(plan)
    assert (row.verdict, row.held, row.records) == ("clean", 5200, 5200), row.reasons
    assert dynamodb.get_item(TableName=unique, Key={"_id": {"S": "n:5199"}})["Item"]["v"] == {"S": "new"}
    assert names(s3, unique) == []


@pytest.mark.parametrize(
    ("kept", "begun"),
    [
        pytest.param(1, 0, id="before it was asked for"),
        pytest.param(2, 1, id="before it was recorded"),
        pytest.param(3, 1, id="before the table was finished"),
    ],
)
def test_a_run_that_died_on_the_way_goes_on_with_the_same_import(
    kept: int,
    begun: int,
    planned: Callable[..., Plan],
    database: Database[dict[str, Any]],
    dynamodb: Any,
    unique: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    database.things.insert_many(things(40))
    plan = planned(expires="until", tags={"a": "b"})
    save, calls = Designs.save_load_state, itertools.count(1)

    def dying(designs: Designs, lease: Lease, memory: Mapping[str, Any]) -> None:
        call = next(calls)
        if call == 1:
            save(designs, lease, memory)
        if call == kept:
            raise TransientError("E-TEST", "died")
        save(designs, lease, memory)

    with monkeypatch.context() as patch:
        patch.setattr(Designs, "save_load_state", dying)
        assert "died" in backfill(plan).reasons[0]
    assert imports(dynamodb, unique) == begun
    assert "not loaded" in verified(plan).reasons[0]
    assert status(plan)[0]["stage"] == "loading"
    row = backfill(plan)
    assert (row.verdict, row.held) == ("clean", 40), row.reasons
    assert imports(dynamodb, unique) == 1
    ttl = dynamodb.describe_time_to_live(TableName=unique)["TimeToLiveDescription"]
    assert ttl["TimeToLiveStatus"] == "ENABLED"


def test_items_that_dynamodb_refuses_fail_the_route_until_the_table_is_gone(
    planned: Callable[..., Plan], database: Database[dict[str, Any]], dynamodb: Any, unique: str, tmp_path: Path
) -> None:
    database.things.insert_many({"_id": n} for n in range(50))
    (tmp_path / "own.py").write_text(OWN)
    plan = planned(
        use_case=None, target="dynamodb", use="own.py:things", indexes={"by_status": {"partition": "status"}}
    )
    reason = backfill(plan).reasons[0]
    assert "ended FAILED ItemValidationError: 50 items in the files, 50 processed, 49 imported, 1 errors" in reason
    assert "log-group:/aws-dynamodb/imports" in reason
    assert backfill(plan).reasons[0] == reason
    assert (verified(plan).missing, imports(dynamodb, unique)) == (1, 1)
    dynamodb.delete_table(TableName=unique)
    assert backfill(plan).reasons[0] != reason
    assert imports(dynamodb, unique) == 2


OWN = """
from mappers.dynamodb import item


def things(document):
    yield item({"_id": str(document["_id"]), "status": 7 if document["_id"] == 7 else "open"})
"""


def test_documents_of_one_key_are_found_to_collide(
    planned: Callable[..., Plan], database: Database[dict[str, Any]], unique: str
) -> None:
    database.things.insert_many({"_id": n, "customer": f"c{n % 900}"} for n in range(1600))
    row = backfill(planned(key={"partition": "customer"}, partitions=1))
    assert (row.verdict, row.records, row.held, row.collides) == ("mismatches", 1600, 900, 700), row.reasons


def test_a_collection_without_documents_gets_its_table_without_an_import(
    planned: Callable[..., Plan], database: Database[dict[str, Any]], dynamodb: Any, unique: str
) -> None:
    database.things.insert_one({"_id": 1})
    plan = planned(where={"_id": 2}, allow_empty=True)
    for _ in range(2):
        assert backfill(plan).verdict == "clean"
    assert (imports(dynamodb, unique), dynamodb.scan(TableName=unique)["Count"]) == (0, 0)


@pytest.mark.parametrize("how", ["compress", "split", "s3"])
def test_items_over_the_limit_are_imported_by_the_policy_of_the_route(
    how: str, planned: Callable[..., Plan], database: Database[dict[str, Any]], s3: Any, unique: str
) -> None:
    database.things.insert_many({"_id": n, "n": n} for n in range(20))
    text = "zebra " * 100_000 if how == "compress" else noise(600_000)
    database.things.insert_one({"_id": "large", "n": 1, "text": text})
    route: dict[str, Any] = {"oversize": how}
    route |= {"oversize_bucket": unique} if how == "s3" else {}
    route |= {"key": {"partition": "_id", "sort": "{n}"}} if how == "split" else {}
    row = backfill(planned(**route))
    assert (row.verdict, row.records, row.held, row.extra) == ("clean", 21, 21, 0), row.reasons
    assert len(names(s3, unique)) == (how == "s3")


def test_what_an_import_cannot_do_is_refused_when_the_plan_loads(planned: Callable[..., Plan]) -> None:
    for keys, fault in (
        ({"import_bucket": None}, "import_bucket: goes together with `load: import`"),
        ({"load": "write"}, "import_bucket: goes together with `load: import`"),
        ({"shared": True, "key": {"partition": "A#{_id}"}}, "no other route can share it"),
        (
            {"key": {"partition": "a", "sort": "b"}, "indexes": {"loc": {"local": True, "sort": "c"}}},
            "makes no local index such as 'loc'",
        ),
        (
            {"oversize": "s3", "oversize_bucket": "both", "import_bucket": "both", "import_prefix": ""},
            "import_prefix: ",
        ),
    ):
        with pytest.raises(PlanError, match=re.escape(fault)):
            planned(**keys)


@pytest.mark.process
def test_a_run_that_is_killed_while_its_import_runs_is_resumed_by_the_same_command(
    planned: Callable[..., Plan], database: Database[dict[str, Any]], dynamodb: Any, unique: str, tmp_path: Path
) -> None:
    database.things.insert_many(things(60))
    plan = planned().path

    def asked() -> bool:
        at = f"file:{tmp_path / 'state.db'}?mode=ro"
        with suppress(sqlite3.OperationalError), closing(sqlite3.connect(at, uri=True)) as db:
            return any("arn" in memory for (memory,) in db.execute("SELECT memory FROM loads"))
        return False

    running = start("backfill", plan, folder=tmp_path)
    try:
        until(lambda: asked() or running.poll() is not None, "an import")
    finally:
        running.kill()
        out, told = running.communicate()
    assert (running.returncode, "load 0 %: 0 of ~60 records" in told) == (-signal.SIGKILL, True), out + told
    ran = offramp("backfill", plan, "--json", folder=tmp_path)
    assert (ran.code, ran.route("things")["held"]) == (0, 60), ran.err
    assert imports(dynamodb, unique) == 1
