"""Reports that leave the machine: written to S3 by every command, and made again where nobody ever saw the run."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from plans import Stores, offramp, start, write_plan
from pymongo.database import Database
from states import execute
from waiting import until

from stores import s3_folder
from stores.aws import session

DOCUMENTS = 40
OBJECTS = {"report.html": "text/html; charset=utf-8", "report.json": "application/json"} | {
    "report.md": "text/markdown; charset=utf-8"
}


@pytest.fixture
def s3(dynamodb_endpoint: str, unique: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A client, for a bucket of the test's own; AWS's settings lead every command to its server."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", dynamodb_endpoint)
    session.cache_clear()
    client = boto3.client("s3")
    client.create_bucket(Bucket=unique, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    yield client
    session.cache_clear()


@pytest.fixture
def plan(tmp_path: Path, stores: Stores, database: Database[dict[str, Any]], unique: str) -> Path:
    database["people"].insert_many([{"_id": number} for number in range(DOCUMENTS)])
    routes = {"people": {"use_case": "session", "key": unique + ":{_id}"}}
    return write_plan(tmp_path, stores, database.name, routes)


def objects(s3: Any, bucket: str, prefix: str) -> dict[str, bytes]:
    """Return what was written below the prefix, by name, after a look at its types."""
    found = {}
    for each in s3.list_objects_v2(Bucket=bucket, Prefix=f"{prefix}/").get("Contents", ()):
        held = s3.get_object(Bucket=bucket, Key=each["Key"])
        name = each["Key"].removeprefix(f"{prefix}/")
        assert held["ContentType"] == OBJECTS[name]
        found[name] = held["Body"].read()
    return found


@pytest.mark.parametrize("prefect", [False, pytest.param(True, marks=pytest.mark.process)])
def test_every_command_writes_its_report_to_s3(
    s3: Any, plan: Path, unique: str, tmp_path: Path, prefect: bool, starts_process: None
) -> None:
    flow = ["--prefect"] if prefect else []
    for command, *more in (("backfill", *flow), ("verify", *flow), ("sync", "--route", "people")):
        url = f"s3://{unique}/{command}/today/"
        ended = offramp(command, plan, *more, "--report", url, folder=tmp_path)
        assert ended.code in (0, 3), ended.err  # The source of a test may have no stream to sync from.
        named = ", ".join(f"s3://{unique}/{command}/today/report.{form}" for form in ("json", "md", "html"))
        assert f"report: {named}\n" in ended.out
        written = objects(s3, unique, f"{command}/today")
        assert {*written} == {*OBJECTS}
        assert json.loads(written["report.json"])["routes"][0]["route"] == "people"
        assert written["report.html"].startswith(b"<!DOCTYPE html>")
    assert not (tmp_path / ".offramp").exists()
    assert (
        f"s3://{unique}/x: can be written to"
        in offramp("check", plan, "--report", f"s3://{unique}/x", folder=tmp_path).out
    )
    assert objects(s3, unique, "x") == {}


@pytest.mark.parametrize("command", ["backfill", "verify", "sync", "check"])
def test_a_bucket_that_is_not_there_is_refused_before_anything_is_written(
    s3: Any, plan: Path, tmp_path: Path, unique: str, command: str
) -> None:
    refused = offramp(command, plan, "--report", f"s3://no-{unique}/x", folder=tmp_path)
    assert refused.code == 2
    reason = f"bucket 'no-{unique}': it does not exist"
    assert f"the report cannot be written to 's3://no-{unique}/x': {reason}" in refused.err
    assert "E-REPORT-DIR" in refused.err
    if command != "check":
        assert not (tmp_path / "state.db").exists()
    unknown = offramp(command, plan, "--report", "gs://bucket/x", folder=tmp_path)
    assert unknown.code == 2
    assert "found the folder 'gs://bucket/x'; write a path or s3://bucket/prefix with --report" in unknown.err


def test_a_report_that_cannot_be_written_at_the_end_is_in_the_state(
    s3: Any, plan: Path, tmp_path: Path, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(folder: s3_folder.S3Folder, name: str) -> None:
        s3.delete_bucket(Bucket=unique)

    monkeypatch.setattr(s3_folder.S3Folder, "check", gone)
    ended = offramp("backfill", plan, "--report", f"s3://{unique}/x", folder=tmp_path)
    assert ended.code == 0
    assert f"the report was not written to 's3://{unique}/x': bucket '{unique}': it does not exist" in ended.err
    assert offramp("report", plan, "--out", tmp_path / "again", folder=tmp_path).code == 0
    assert {path.name for path in (tmp_path / "again").iterdir()} == {*OBJECTS}


def test_any_run_has_its_report_on_a_machine_that_never_saw_it(
    s3: Any, plan: Path, tmp_path: Path, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert offramp("backfill", plan, "--report", tmp_path / "first", folder=tmp_path).code == 0
    assert offramp("verify", plan, "--report", tmp_path / "second", folder=tmp_path).code == 0
    first, second = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("first", "second")
    )
    # The other machine has the state, and of the plan its name: no store, no secret, no mapper.
    there = tmp_path / "there"
    there.mkdir()
    shutil.move(tmp_path / "state.db", there / "copied.db")
    elsewhere = there / "plan.yaml"
    keys = yaml.safe_load(plan.read_text())
    keys |= {"state": "sqlite:///${WHERE}.db", "name": "plan"}
    keys["source"]["uri"] = "${NOT_HERE}"
    keys["routes"]["people"]["use"] = "not_here.py:mapped"
    elsewhere.write_text(yaml.safe_dump(keys))
    plan.unlink()

    def report(*arguments: str | Path) -> Any:
        return offramp("report", elsewhere, *arguments, folder=there, environment={"WHERE": "copied"})

    listed = report()
    assert listed.code == 0, listed.err
    assert {path.name: path.read_bytes() for path in (there / ".offramp/reports/plan").iterdir()} == second
    numbers = re.findall(r"^ *(\d)  (\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC)  (\w+) +clean", listed.out, re.MULTILINE)
    assert [(number, command) for number, _, command in numbers] == [("1", "verify"), ("2", "backfill")]
    began = json.loads(second["report.json"])["history"][0]["began"]
    for wanted in ("2", began):
        chosen = report("--run", wanted, "--out", f"s3://{unique}/runs")
        assert chosen.code == 0, chosen.err
        assert objects(s3, unique, "runs") == first
        assert "this is the report of run 2; 1 later run ended too" in chosen.out
    assert report("--run", "2", "--json", "--out", there / "json").json == json.loads(first["report.json"])
    assert report("--run", "1", "--format", "md", "--out", there / "one").code == 0
    assert [path.name for path in (there / "one").iterdir()] == ["report.md"]
    for wanted, words in (("3", "no run of the plan 'plan'"), ("20", "no run"), ("2-", "no run"), (" ", "no run")):
        refused = report("--run", wanted)
        assert refused.code == 2
        assert words in refused.err
        assert "allowed: 1 to 2, or the time at which it began" in refused.err
    assert "several runs of the plan" in report("--run", began[:4] + "-").err
    assert report("--open", "--out", f"s3://{unique}/x").code == 2
    assert "the environment variable WHERE is not set" in offramp("report", elsewhere, folder=there).err


def test_a_state_that_is_not_there_is_told_and_not_made(plan: Path, tmp_path: Path) -> None:
    refused = offramp("report", plan, folder=tmp_path)
    assert refused.code == 2
    assert "E-REPORT-NONE no run of the plan 'plan' has ended yet: its state is not there yet" in refused.err
    assert not (tmp_path / "state.db").exists()


@pytest.mark.process
def test_a_run_at_work_and_a_killed_one_are_told_apart_as_far_as_is_known(
    plan: Path, tmp_path: Path, stores: Stores, unique: str, starts_process: None, database: Database[dict[str, Any]]
) -> None:
    started = tmp_path / "started"
    (tmp_path / "own.py").write_text(
        "import time\nfrom pathlib import Path\n"
        f"def slow(document):\n    Path({str(started)!r}).touch()\n    time.sleep(600)\n    return []\n"
    )
    routes = {"people": {"target": "redis", "use": "own.py:slow", "key": unique + ":{_id}"}}
    path = write_plan(tmp_path, stores, database.name, routes)
    running = start("backfill", path, folder=tmp_path)
    try:
        until(started.exists, "document mapped", limit_s=60)
        status = offramp("status", path, folder=tmp_path)
        assert re.search(rf"a run is at work \(\S+/{running.pid}\); if it was killed, its lease ends in \d", status.out)
        assert offramp("report", path, folder=tmp_path).code == 2
        assert "E-REPORT-NONE no run of the plan 'plan' has ended yet" in offramp("report", path, folder=tmp_path).err
        at_work = offramp("report", path, "--run", "1", folder=tmp_path)
        assert re.search(rf"has no report \(at work \(\S+/{running.pid}\)\)", at_work.err)
    finally:
        running.kill()
        running.communicate()
    killed = offramp("report", path, "--run", "1", folder=tmp_path)
    assert "has no report (did not end)" in killed.err
    # Another machine cannot ask whether the process lives; the lease tells until it ends.
    for table in ("leases", "runs"):
        moved = f"UPDATE {table} SET owner = 'other' || substr(owner, instr(owner, '/'))"
        execute(f"sqlite:///{tmp_path / 'state.db'}", moved)
    elsewhere = offramp("report", path, "--run", "1", folder=tmp_path)
    assert f"has no report (at work (other/{running.pid}))" in elsewhere.err
    execute(f"sqlite:///{tmp_path / 'state.db'}", "UPDATE leases SET expires = 1")
    assert "has no report (did not end)" in offramp("report", path, "--run", "1", folder=tmp_path).err
    assert "at work" not in offramp("status", path, folder=tmp_path).out.replace("run at work", "")
