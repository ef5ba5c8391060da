"""The demo as a person runs it: a process of its own that leaves a report and nothing running."""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bson
import psutil
import pytest
import yaml
from waiting import until

from flows.demo import seed
from flows.demo.many_machines import WORKERS, refuse_missing, written_plan
from flows.demo.run import claim_folder, configuration, local_environment
from mappers.documents.decoding import TYPE_NAMES, decode, identity_type
from mappers.identity import encode
from stores.errors import PlanError

ROOT = Path(__file__).parents[2]
NOW = dt.datetime(2031, 5, 6, 7, 8, 9, 123_456, tzinfo=dt.UTC)
LIMIT_S = 240
SERVERS = ("mongodb", "dynamodb", "redis", "elasticsearch")


def started(folder: Path, *options: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "flows.cli.main", "demo", "--dir", str(folder), *options],
        cwd=folder.parent,
        # A person's own AWS settings are none of the demo's business.
        env={**os.environ, "PYTHONPATH": str(ROOT), "AWS_PROFILE": "nobody's", "AWS_ACCESS_KEY_ID": "", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ran(folder: Path, *options: str, **environment: str) -> tuple[int, str, str]:
    with started(folder, *options, **environment) as process:
        out, err = process.communicate(timeout=LIMIT_S)
    return process.returncode, out, err


def at_work_in(folder: Path) -> list[str]:
    """The processes that work below the folder or name it in their arguments; each server of the demo does both."""
    found = []
    for process in psutil.process_iter():
        try:
            if str(folder) in f"{process.cwd()} {' '.join(process.cmdline())}":
                found.append(process.name())
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo") / "marketplace"


@pytest.fixture(scope="module")
def first(starts_server: None, folder: Path) -> dict[str, Any]:
    """The report of a first run, on standard output."""
    code, out, err = ran(folder, "--documents", "600", "--json")
    assert code == 0, err
    report: dict[str, Any] = json.loads(out)
    return report


def test_the_demo_moves_every_collection_to_three_stores_and_finds_it_clean(first: dict[str, Any]) -> None:
    routes = first["routes"]
    assert first["verdict"] == "clean"
    assert {route["verdict"] for route in routes} == {"clean"}
    assert len(routes) >= 6
    assert {route["target"] for route in routes} == {"dynamodb", "redis", "elasticsearch"}
    assert {route["collection"] for route in routes} == set(seed.counts(600))
    # 0 is "looked and found none"; null would be "not looked".
    assert {(route["route"], route["extra"]) for route in routes} == {(route["route"], 0) for route in routes}
    assert all(route["held"] == route["records"] > 0 for route in routes)
    assert all(route["losses"] == {} for route in routes)


def test_the_demo_reads_every_document_it_seeded(first: dict[str, Any]) -> None:
    read = {route["route"]: route["read"] for route in first["routes"]}
    made = {name: list(made) for name, made in seed.marketplace(600, NOW).items()}
    for name in ("projects", "freelancers", "accounts", "proposals", "sessions"):
        assert read[name] == len(made[name])
    reviewed = sum(freelancer["reviews"] > 0 for freelancer in made["freelancers"])
    assert read["freelancers_by_rating"] == reviewed < read["profiles"]
    since = dt.datetime(2016, 1, 1, tzinfo=dt.UTC)
    wanted = sum(event["kind"] != "heartbeat" and event["at"] >= since for event in made["activity"])
    assert read["activity"] == wanted < len(made["activity"])
    (proposals,) = [route for route in first["routes"] if route["route"] == "proposals"]
    assert proposals["dropped"] == sum(proposal["state"] == "draft" for proposal in made["proposals"]) > 0


def test_the_report_lies_where_the_demo_says(first: dict[str, Any], folder: Path) -> None:
    assert json.loads((folder / "report" / "report.json").read_text(encoding="utf-8")) == first
    assert "# marketplace: clean" in (folder / "report" / "report.md").read_text(encoding="utf-8")


def test_no_server_outlives_the_demo(first: dict[str, Any], folder: Path) -> None:
    assert at_work_in(folder) == []


@pytest.mark.process
def test_a_second_run_in_the_folder_begins_anew_and_tells_its_steps(first: dict[str, Any], folder: Path) -> None:
    before = {data.name for data in folder.glob("data-*")}
    code, out, err = ran(folder, "--documents", "100")
    assert code == 0, err
    steps = [line for line in out.splitlines() if line[:1].isdigit() and line[1:3] == "  "]
    assert [line[0] for line in steps] == ["1", "2", "3", "4", "5"]
    assert "100 documents in 6 collections" in steps[1]
    assert "verdict clean: 8 routes" in out
    assert str(folder / "report" / "report.json") in out
    commands = [line.split() for line in out.splitlines() if line.strip().startswith("cp ")]
    assert all(Path(file).is_file() for file in commands[0][1:-1])
    after = {data.name for data in folder.glob("data-*")}
    assert len(after) == 1
    assert not after & before
    assert at_work_in(folder) == []


@pytest.mark.server
@pytest.mark.process
def test_a_folder_of_somebody_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "thesis.txt").write_text("years of work")
    code, out, err = ran(theirs, "--documents", "600", "--json")
    assert code == 2
    assert json.loads(out)["error"]["code"] == "E-DEMO-DIR"
    assert "--dir" in err
    assert [(file.name, file.read_text()) for file in theirs.iterdir()] == [("thesis.txt", "years of work")]


def test_two_demos_do_not_share_a_folder(tmp_path: Path) -> None:
    with claim_folder(tmp_path / "one"), pytest.raises(PlanError) as refused, claim_folder(tmp_path / "one"):
        pass
    assert refused.value.code == "E-DEMO-DIR"
    with claim_folder(tmp_path / "one"):
        pass


@pytest.fixture
def seeding_demo(starts_server: None, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A demo that has all its servers up and more to seed than it will get to."""
    folder = tmp_path / "stopped"
    with started(folder, "--documents", "500000") as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("1  started 4 servers")
        try:
            yield process, folder
        finally:
            process.kill()


def test_a_demo_told_to_stop_stops_its_servers(seeding_demo: tuple[subprocess.Popen[str], Path]) -> None:
    process, folder = seeding_demo
    assert len(at_work_in(folder)) >= len(SERVERS)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    # One that takes long to end is not waited for; it ends with its parent.
    until(lambda: at_work_in(folder) == [], "end of the demo's servers")


def test_the_process_has_its_own_environment_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "mine")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY", raising=False)
    monkeypatch.setenv("no_proxy", "example.org")
    before = dict(os.environ)
    with local_environment():
        assert "AWS_PROFILE" not in os.environ
        assert os.environ["AWS_SECRET_ACCESS_KEY"] == "demo"
        assert os.environ["no_proxy"] == "example.org,127.0.0.1"
    assert dict(os.environ) == before


# --- the marketplace itself -------------------------------------------------------------------------------------------


def encoded(documents: int, now: dt.datetime = NOW) -> dict[str, list[bytes]]:
    return {
        name: [bson.encode(document) for document in made] for name, made in seed.marketplace(documents, now).items()
    }


def test_the_same_marketplace_comes_out_every_time() -> None:
    here = encoded(1000)
    assert here == encoded(1000)
    later = encoded(1000, NOW + dt.timedelta(days=400))
    assert {name for name in here if here[name] != later[name]} == {"sessions"}


@pytest.mark.parametrize("documents", [100, 101, 599, 12_000])
def test_the_marketplace_has_as_many_documents_as_asked_for(documents: int) -> None:
    made = encoded(documents)
    assert sum(map(len, made.values())) == documents == sum(seed.counts(documents).values())
    assert all(made.values())


def test_no_two_documents_of_a_collection_share_an_id() -> None:
    for documents in encoded(12_000).values():
        ids = [encode(decode(document)["_id"]) for document in documents]
        assert len(set(ids)) == len(ids)


def test_accounts_have_every_type_of_id_and_null_once() -> None:
    kinds = Counter(map(identity_type, encoded(12_000)["accounts"]))
    assert set(kinds) == {"int", "long", "double", "string", "objectId", "date", "binData", "object", "null"}
    assert kinds["null"] == 1
    subtypes = {
        getattr(decode(document)["_id"], "subtype", 0)
        for document in encoded(12_000)["accounts"]
        if identity_type(document) == "binData"
    }
    assert subtypes == {0, 4}


def test_the_marketplace_holds_every_type_of_value() -> None:
    seen: set[str] = set()

    def look(value: Any) -> None:
        seen.add(TYPE_NAMES[bson.encode({"": value})[4]])
        for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            look(inner)

    for documents in encoded(12_000).values():
        for document in documents:
            look(bson.decode(document))
    assert seen == set(TYPE_NAMES.values()) - {"undefined", "dbPointer", "symbol"}


def test_sessions_expire_after_the_run_or_never() -> None:
    sessions = [decode(document) for document in encoded(12_000)["sessions"]]
    ends = [session["expires_at"] for session in sessions if "expires_at" in session]
    assert min(ends) >= NOW + dt.timedelta(minutes=59)
    assert 0 < len(ends) < len(sessions)


@pytest.mark.server
@pytest.mark.process
def test_the_live_demo_follows_a_writer_and_is_clean_once_it_has_stopped(tmp_path: Path) -> None:
    folder = tmp_path / "live"
    code, out, err = ran(folder, "--documents", "300", "--live", "--seconds", "2")
    assert code == 0, out + err
    assert "changes while the writer ran" in out
    report = json.loads((folder / "report" / "report.json").read_text(encoding="utf-8"))
    assert {(route["verdict"], route["verified"]) for route in report["routes"]} == {("clean", "full")}
    assert all(route["sync"]["events"] > 0 for route in report["routes"])
    assert at_work_in(folder) == []


# --- on many machines -------------------------------------------------------------------------------------------------


@pytest.mark.server
@pytest.mark.process
def test_the_demo_on_dask_workers_with_the_state_on_postgresql_is_clean_and_leaves_nothing_running(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "many"
    # A Prefect of this user's own is none of the demo's business.
    code, out, err = ran(folder, "--documents", "300", "--dask", PREFECT_API_URL="http://127.0.0.1:9/api")
    assert code == 0, out + err
    report = json.loads((folder / "report" / "report.json").read_text(encoding="utf-8"))
    assert {(route["verdict"], route["verified"]) for route in report["routes"]} == {("clean", "full")}
    assert sum(route["read"] for route in report["routes"]) > 300
    assert "on 2 workers" in out
    (data,) = folder.glob("data-*")
    # Each worker has done jobs, over TLS alone: a scheduler or worker that takes plain connections would say tcp://.
    logs = [(data / "dask" / name / "Dask worker.log").read_text() for name in ("worker-1", "worker-2")]
    assert all("tls://" in log and "tcp://" not in log for log in logs)
    assert (data / "dask" / "key.pem").stat().st_mode & 0o777 == 0o600
    # No state in a file, which no other machine would have; Prefect's server has one of its own.
    assert {file.parent.name for file in folder.rglob("*.db")} == {"prefect"}
    password = [file for file in folder.rglob("*") if file.is_file() and holds_password(file)]
    assert password == []
    until(lambda: at_work_in(folder) == [], "end of the demo's servers")


def holds_password(file: Path) -> bool:
    """Return whether the file has a password in a URL of PostgreSQL, as no plan, report or log may have."""
    return re.search(rb"postgresql://postgres:[^$@\s]+@", file.read_bytes()) is not None


def test_what_the_demo_on_dask_lacks_is_named_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(PlanError, match=r"psycopg not installed .*-r requirements/dask\.txt") as refused:
        refuse_missing()
    assert refused.value.code == "E-DEMO-INSTALL"


def test_the_plan_of_the_demo_on_dask_is_that_of_the_demo_but_for_state_and_run(tmp_path: Path) -> None:
    with_state = written_plan(tmp_path, configuration()).read_text(encoding="utf-8")
    usual = yaml.safe_load((configuration() / "plan.yaml").read_text(encoding="utf-8"))
    made = yaml.safe_load(with_state)
    assert made.pop("run") == {"runner": "dask", "address": "${DASK_ADDRESS}", "workers": WORKERS}
    assert made.pop("state").startswith("postgresql://postgres:${STATE_PASSWORD}@")
    usual.pop("state")
    assert made == usual
