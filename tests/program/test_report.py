"""From a run to its report: how records differ, what is unproven, the runs before it, and the same report again."""

from __future__ import annotations

import json
import re
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import yaml
from plans import Stores, offramp, write_plan
from pymongo.database import Database
from redis import Redis

from flows.plan.load import load
from stores.state.state import State

SECRET = "Ada-Lovelace-1815"
DOCUMENTS = 300


@pytest.fixture
def plan(tmp_path: Path, stores: Stores, database: Database[dict[str, Any]], unique: str) -> Path:
    database["people"].insert_many(
        [{"_id": number, "name": SECRET, "tags": ["a", "b"], "born": {"year": 1815}} for number in range(DOCUMENTS)]
    )
    database["people"].create_index("name", name="by_name")
    database["people"].create_index([("born.year", 1), ("_id", 1)], name="year_once", unique=True)
    routes = {"people": {"use_case": "session", "key": unique + ":{_id}", "where": {"_id": {"$gte": 0}}}}
    return write_plan(tmp_path, stores, database.name, routes)


def report_of(folder: Path) -> Any:
    return json.loads((folder / ".offramp" / "reports" / "plan" / "report.json").read_text("utf-8"))


def damage(redis_url: str, unique: str) -> None:
    """Change one record in each way it can hold wrong data."""
    with Redis.from_url(redis_url) as redis:

        def change(number: int, **changes: Any) -> None:
            key = f"{unique}:n:{number}"
            held = json.loads(redis.get(key))
            redis.set(key, json.dumps({**held, **changes}, separators=(",", ":")))

        change(1, name=SECRET[:5])
        change(2, tags=["b", "a"])
        change(3, born={"year": "1815"})
        change(4, born={})
        change(5, more=SECRET)
        redis.expire(f"{unique}:n:6", 10_000)
        redis.delete(f"{unique}:n:7")


def test_a_report_says_how_records_differ_and_shows_values_only_if_asked(
    plan: Path, tmp_path: Path, redis_url: str, unique: str
) -> None:
    assert offramp("backfill", plan, folder=tmp_path).code == 0
    clean = report_of(tmp_path)["routes"][0]
    assert clean["differing"] is None
    assert sum(clean["sizes"].values()) == DOCUMENTS
    assert [series["stage"] for series in clean["throughput"]] == ["copy", "verify"]
    assert all(sum(series["documents"]) == DOCUMENTS for series in clean["throughput"])

    damage(redis_url, unique)
    assert offramp("verify", plan, folder=tmp_path).code == 1
    found = report_of(tmp_path)["routes"][0]
    assert (found["differs"], found["missing"], found["differing"]["examined"]) == (6, 1, 6)
    told = {
        (one["address"].rpartition(":")[2], one["path"], one["kind"], one["source_type"])
        for one in found["differing"]["samples"]
    }
    assert told == {
        ("1", "name", "value", "string"),
        ("2", "tags", "order", "array"),
        ("3", "born.year", "type", "int"),
        ("4", "born.year", "missing", "int"),
        ("5", "more", "extra", ""),
        ("6", "(expires)", "extra", ""),
    }
    assert found["differing"]["kinds"] == {"extra": 2, "missing": 1, "order": 1, "type": 1, "value": 1}
    for written in (tmp_path / ".offramp" / "reports" / "plan").iterdir():
        assert SECRET not in written.read_text("utf-8")
    for kept in (one for one in tmp_path.rglob("state.db*") if one.is_file()):
        assert SECRET.encode() not in kept.read_bytes()

    assert offramp("verify", plan, "--show-values", folder=tmp_path).code == 1
    (name,) = [one for one in report_of(tmp_path)["routes"][0]["differing"]["samples"] if one["path"] == "name"]
    assert (name["expected"], name["found"]) == (f'"{SECRET}"', f'"{SECRET[:5]}"')
    assert SECRET in (tmp_path / ".offramp" / "reports" / "plan" / "report.html").read_text("utf-8")


def test_what_is_not_checked_is_in_every_form_of_the_report(plan: Path, tmp_path: Path) -> None:
    assert offramp("backfill", plan, "--verify", "counts", folder=tmp_path).code == 0
    told = report_of(tmp_path)["routes"][0]["not_checked"]
    assert [sentence.split(":")[0] for sentence in told] == [
        "The content of the records",
        "Documents that `where` leaves out",
        "Unique indexes of the source (year_once)",
    ]
    folder = tmp_path / ".offramp" / "reports" / "plan"
    for form in ("md", "html"):
        page = (folder / f"report.{form}").read_text("utf-8")
        assert all(part in page for part in ("only their number was compared", "leaves out", "year_once"))
        assert "--level full" in page.replace("<span>", "").replace("</span>", "")


def test_the_last_report_is_written_again_without_any_store(plan: Path, tmp_path: Path, redis_url: str) -> None:
    assert offramp("report", plan, folder=tmp_path).code == 2
    assert offramp("backfill", plan, folder=tmp_path).code == 0
    folder = tmp_path / ".offramp" / "reports" / "plan"
    first = (folder / "report.json").read_bytes()
    assert offramp("backfill", plan, "--restart", folder=tmp_path).code == 0
    second = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert set(second) == {"report.json", "report.md", "report.html"}
    (before,) = json.loads(second["report.json"])["history"]
    assert (before["command"], before["verdict"], before["read"]) == ("backfill", "clean", DOCUMENTS)
    assert before["sha256"] == sha256(first).hexdigest()
    assert sha256(second["report.json"]).hexdigest() in second["report.html"].decode()
    assert sha256(second["report.json"]).hexdigest() in second["report.md"].decode()

    told = yaml.safe_load(plan.read_text("utf-8"))
    told["source"]["uri"], told["targets"]["redis"]["url"] = "mongodb://127.0.0.1:1", "redis://127.0.0.1:1"
    plan.write_text(yaml.safe_dump(told), encoding="utf-8")
    done = offramp("report", plan, "--out", tmp_path / "again", folder=tmp_path)
    assert done.code == 0
    assert {path.name: path.read_bytes() for path in (tmp_path / "again").iterdir()} == second
    assert done.out.count("backfill  clean") == 2
    assert offramp("report", plan, "--format", "md", "--out", tmp_path / "one", folder=tmp_path).code == 0
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["report.md"]


def test_a_run_that_never_ended_is_told_as_such(plan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def dies(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("flows.replication.positions.FirstPosition.take", dies)
        assert offramp("backfill", plan, folder=tmp_path).code == 130
    assert offramp("backfill", plan, folder=tmp_path).code == 0
    (before,) = report_of(tmp_path)["history"]
    assert (before["command"], before["finished"], before["verdict"], before["sha256"]) == ("backfill", None, None, "")
    assert "did not end" in offramp("report", plan, folder=tmp_path).out


def test_a_report_from_before_a_write_says_that_it_is(plan: Path, tmp_path: Path) -> None:
    assert offramp("backfill", plan, folder=tmp_path).code == 0
    assert "verify again" not in offramp("report", plan, folder=tmp_path).out
    state = State(load(plan).state, load(plan).name)
    (name,) = load(plan).routes
    state.verification.abandon(lease := state.leases.acquire(name))
    state.leases.release(lease)
    state.close()
    assert f"verify again; written to since this report: {name}" in offramp("report", plan, folder=tmp_path).out
    assert offramp("verify", plan, folder=tmp_path).code == 0
    assert "verify again" not in offramp("report", plan, folder=tmp_path).out


def test_the_report_of_a_verification_tells_how_fast_the_route_was_last_copied(plan: Path, tmp_path: Path) -> None:
    assert offramp("backfill", plan, "--verify", "none", folder=tmp_path).code == 0
    (copying,) = report_of(tmp_path)["routes"][0]["throughput"]
    for _ in range(2):
        assert offramp("verify", plan, folder=tmp_path).code == 0
        told = report_of(tmp_path)["routes"][0]["throughput"]
        assert told[0] == copying
        assert [series["stage"] for series in told] == ["copy", "verify"]


def test_a_run_that_another_release_kept_stops_nothing(plan: Path, tmp_path: Path) -> None:
    state = State(f"sqlite:///{tmp_path / 'state.db'}", "plan")
    for kept in (b'{"plan": "plan"}', b"no JSON"):
        state.runs.end(state.runs.begin("backfill", "host/1"), kept)
    state.close()
    assert offramp("backfill", plan, folder=tmp_path).code == 0
    assert offramp("verify", plan, folder=tmp_path).code == 0
    told = report_of(tmp_path)["history"]
    assert [(run["sha256"], run["verdict"]) for run in told[1:]] == [
        (sha256(kept).hexdigest(), None) for kept in (b"no JSON", b'{"plan": "plan"}')
    ]


def test_a_run_of_some_routes_leaves_the_report_one_of_the_whole_plan(
    stores: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Path
) -> None:
    database.things.insert_many([{"_id": n} for n in range(5)])
    database.places.insert_many([{"_id": n} for n in range(7)])
    keys = {"use_case": "session"}
    routes = {
        "things": {**keys, "key": f"{unique}:t:{{_id}}"},
        "places": {**keys, "key": f"{unique}:p:{{_id}}"},
        "copies": {**keys, "collection": "places", "key": f"{unique}:c:{{_id}}"},
    }
    plan = write_plan(tmp_path, stores, database.name, routes)

    def run(command: str, *routes: str) -> dict[str, Any]:
        options = [word for route in routes for word in ("--route", route)]
        offramp(command, plan, *options, folder=tmp_path)
        report: dict[str, Any] = report_of(tmp_path)
        return report

    def pages() -> list[str]:
        folder = tmp_path / ".offramp" / "reports" / "plan"
        return [re.sub("<[^>]+>", "", (folder / f"report.{form}").read_text("utf-8")) for form in ("md", "html")]

    report = run("backfill", "things", "places")
    assert (report["verdict"], report["plan_verdict"]) == ("clean", "failed")
    assert [(other["route"], other["void"]) for other in report["others"]] == [("copies", "not backfilled")]
    for page in pages():
        assert "sign this page" not in page
        assert "2 of 3 routes clean, 1 without a verdict" in page
        assert "This run was about 2 of 3 routes of the plan: things, places." in page

    # The verdict of the others stays what it was, bad ones and whole ones, until they are looked at again.
    with Redis.from_url(stores.redis) as redis:
        assert redis.delete(f"{unique}:p:n:3") == 1
    assert run("verify", "places")["verdict"] == "mismatches"
    report = run("backfill", "copies")
    assert (report["verdict"], report["plan_verdict"]) == ("clean", "mismatches")
    assert {(other["route"], other["report"]["verdict"], other["void"]) for other in report["others"]} == {
        ("things", "clean", ""),
        ("places", "mismatches", ""),
    }
    for page in pages():
        assert "2 of 3 routes clean, 1 with mismatches" in page
        assert f"{unique}:p:n:3" in page
        assert "sign this page" not in page
        assert "not in this run: as verify found it on 20" in page
    text = offramp("report", plan, folder=tmp_path).out
    assert "places: mismatches, not in this run" in text

    # What was written to since has no verdict that stands.
    assert offramp("repair", plan, "--route", "places", folder=tmp_path).code == 0
    report = run("verify", "things")
    assert {other["route"]: other["void"] for other in report["others"]} == {
        "places": "written to since its last verdict",
        "copies": "",
    }
    assert report["plan_verdict"] == "failed"
    report = run("verify", "places")
    assert (report["plan_verdict"], [other["void"] for other in report["others"]]) == ("clean", ["", ""])
    assert all("sign this page" in page for page in pages())
    assert run("verify")["others"] == []


def test_a_report_names_the_servers_and_the_places_of_its_routes_and_no_password(
    stores: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Path
) -> None:
    database.things.insert_one({"_id": 1})
    keys = {"collection": "things"}
    routes = {
        "cached": {**keys, "use_case": "cache", "key": f"{unique}:{{_id}}"},
        "items": {**keys, "use_case": "entity", "table": unique},
        "found": {**keys, "use_case": "search", "index": unique},
    }
    plan = write_plan(tmp_path, stores, database.name, routes)
    assert offramp("backfill", plan, folder=tmp_path).code == 0
    report = report_of(tmp_path)
    assert {row["route"]: row["location"] for row in report["routes"]} == {
        "cached": f"keys {unique}:*",
        "items": f"table {unique}",
        "found": f"index {unique}",
    }
    servers = {server["target"]: server for server in report["servers"]}
    assert re.match(r"(Redis|Valkey) \d", servers["redis"]["version"])
    assert servers["dynamodb"]["version"] == "DynamoDB in eu-west-1"
    assert re.match(r"(Elasticsearch|OpenSearch) \d", servers["elasticsearch"]["version"])
    assert "eu-west-1" in servers["dynamodb"]["addresses"]
    assert re.search(r":\d+", report["source"]["server"])
    for form in ("md", "html"):
        page = (tmp_path / ".offramp" / "reports" / "plan" / f"report.{form}").read_text("utf-8")
        for words in (f"table {unique}", "eu-west-1", servers["redis"]["version"], report["source"]["server"]):
            assert words in page
