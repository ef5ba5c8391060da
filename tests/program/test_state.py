"""`offramp state` as a user types it: a run that was begun on one state goes on on another, as if it had not moved."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from gated_mapper import DOCUMENTS, gated_plan
from plans import Finished, Stores, offramp, start, write_plan
from postgresqls import Postgresql
from pymongo.database import Database
from redis import Redis
from states import LIMIT_S, execute, rows
from waiting import until

from flows.demo import servers

MOVED = ("documents", "read", "rejected", "copied", "records", "held", "missing", "differs", "extra", "collides")


@pytest.fixture(scope="module")
def mongodb_url(starts_server: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server whose oplog holds what these tests write."""
    with servers.mongodb(tmp_path_factory.mktemp("mongodb")) as url:
        yield url


@pytest.fixture
def elsewhere(postgresql: Postgresql, unique: str) -> Iterator[str]:
    """The URL of a state on PostgreSQL, in a schema of the test's own."""
    yield postgresql.url(unique)
    postgresql.execute(f"DROP SCHEMA IF EXISTS {unique} CASCADE")


def name_state(plan: Path, url: str) -> None:
    """The plan's state is at this URL from now on."""
    plan.write_text(yaml.safe_dump(yaml.safe_load(plan.read_text()) | {"state": url}), encoding="utf-8")


def move(plan: Path, file: Path, url: str) -> Finished:
    """Move the plan's state by the file to the place of the URL, as docs/state.md says."""
    exported = offramp("state", "export", plan, file, folder=plan.parent)
    assert exported.code == 0, exported.err
    name_state(plan, url)
    imported = offramp("state", "import", plan, file, folder=plan.parent)
    assert imported.code == 0, imported.err
    return exported


def position_in(url: str) -> object:
    """Return how far the only partition has come."""
    ((position,),) = rows(url, "SELECT position FROM partitions") or [(None,)]
    return position


def held(redis_url: str, unique: str) -> dict[bytes, bytes | None]:
    with Redis.from_url(redis_url) as redis:
        return {key: redis.get(key) for key in redis.scan_iter(f"{unique}:*")}


@pytest.mark.process
def test_a_backfill_killed_half_way_goes_on_elsewhere_and_back_again(
    stores: Stores, database: Database[dict[str, Any]], unique: str, elsewhere: str, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    plan = gated_plan("wait", gate, stores, database, unique, {"workers": 1, "window": 1}, partitions=1)
    places = [f"sqlite:///{tmp_path}/state.db", elsewhere]
    reached = tmp_path / "gate.reached"
    for number in range(2):
        reached.unlink(missing_ok=True)
        running = start("backfill", plan, folder=tmp_path)
        until(lambda: reached.exists() and position_in(places[0]) is not None, "a checkpoint")
        running.kill()
        running.communicate(timeout=LIMIT_S)
        position = position_in(places[0])
        move(plan, tmp_path / f"moved-{number}", places[1])
        assert position_in(places[1]) == position
        places.reverse()
    gate.touch()
    done = offramp("backfill", plan, "--json", folder=tmp_path)
    row = done.route("things")
    assert done.code == 0, row["reasons"]
    twin = unmoved(plan, tmp_path / "twin", f"{unique}twin")
    expected = offramp("backfill", twin, "--json", folder=tmp_path / "twin").route("things")
    assert {name: row[name] for name in MOVED} == {name: expected[name] for name in MOVED}
    assert (row["verdict"], row["read"], row["extra"]) == ("clean", DOCUMENTS, 0)
    assert held(stores.redis, unique) == {
        f"{unique}:n:{number}".encode(): str(number).encode() for number in range(DOCUMENTS)
    }
    runs = offramp("report", plan, folder=tmp_path).out
    assert runs.count("backfill") >= 3  # The two that were killed stay on record.


def unmoved(plan: Path, folder: Path, unique: str) -> Path:
    """Write the same plan with another prefix and a state of its own, which never moves."""
    folder.mkdir()
    (folder / "gate").touch()
    (folder / "own.py").write_text((plan.parent / "own.py").read_text(), encoding="utf-8")
    keys = yaml.safe_load(plan.read_text())
    keys["state"] = f"sqlite:///{folder}/state.db"
    keys["routes"]["things"]["options"] = {"gate": str(folder / "gate"), "prefix": f"{unique}:"}
    keys["routes"]["things"]["key"] = f"{unique}:{{_id}}"
    path = folder / "plan.yaml"
    path.write_text(yaml.safe_dump(keys), encoding="utf-8")
    return path


def test_the_position_in_the_changes_goes_along(
    stores: Stores, database: Database[dict[str, Any]], unique: str, elsewhere: str, tmp_path: Path
) -> None:
    database.things.insert_many([{"_id": number, "n": number} for number in range(50)])
    route = {"use_case": "session", "key": f"{unique}:{{_id}}", "sync": "stream"}
    plan = write_plan(tmp_path, stores, database.name, {"things": route})
    assert offramp("backfill", plan, folder=tmp_path).code == 0
    exported = offramp("state", "export", plan, tmp_path / "moved", folder=tmp_path)
    assert exported.code == 0
    database.things.insert_one({"_id": 50, "n": 50})
    database.things.delete_one({"_id": 7})
    name_state(plan, elsewhere)
    assert offramp("state", "import", plan, tmp_path / "moved", folder=tmp_path).code == 0
    synced = offramp("sync", plan, "--json", folder=tmp_path)
    assert (synced.code, synced.route("things")["verdict"]) == (0, "clean"), synced.out
    assert {*held(stores.redis, unique)} == {f"{unique}:n:{number}".encode() for number in range(51) if number != 7}
    verified = offramp("verify", plan, "--json", folder=tmp_path)
    assert (verified.code, verified.route("things")["held"]) == (0, 50)
    database.things.insert_one({"_id": 51, "n": 51})
    move(plan, tmp_path / "back", f"sqlite:///{tmp_path}/state.db")
    assert offramp("sync", plan, folder=tmp_path).code == 0
    assert f"{unique}:n:51".encode() in held(stores.redis, unique)


def compared_to(url: str) -> object:
    """Return how far a verification pass has come in comparing; None before its first checkpoint."""
    found = rows(url, "SELECT position FROM pass_parts WHERE stage = 'compare'")
    return found[0][0] if found else None


@pytest.mark.process
def test_a_verification_killed_half_way_goes_on_elsewhere(
    stores: Stores, database: Database[dict[str, Any]], unique: str, elsewhere: str, tmp_path: Path
) -> None:
    documents = 4_000
    database.things.insert_many([{"_id": number, "n": number} for number in range(documents)])
    route = {"use_case": "session", "key": f"{unique}:{{_id}}"}
    plan = write_plan(
        *(tmp_path, stores, database.name, {"things": route}), run={"window": 1}, verification={"max_rate": 700}
    )
    assert offramp("backfill", plan, "--verify", "none", folder=tmp_path).code == 0
    with Redis.from_url(stores.redis) as redis:
        redis.delete(f"{unique}:n:10")
        redis.set(f"{unique}:n:{documents - 10}", "wrong")
        redis.set(f"{unique}:n:{documents}", "extra")
    here = f"sqlite:///{tmp_path}/state.db"
    running = start("verify", plan, folder=tmp_path)
    until(lambda: compared_to(here) is not None or running.poll() is not None, "a first checkpoint")
    running.kill()
    running.communicate()
    position = compared_to(here)
    assert position is not None
    move(plan, tmp_path / "moved", elsewhere)
    assert compared_to(elsewhere) == position
    row = offramp("verify", plan, "--json", folder=tmp_path).route("things")
    assert row["verification"]["resumed"] == 1
    assert (row["missing"], row["differs"], row["extra"], row["held"]) == (1, 1, 1, documents - 1)


@pytest.fixture
def copied(stores: Stores, database: Database[dict[str, Any]], unique: str, tmp_path: Path) -> Path:
    """Return a plan whose backfill has ended."""
    database.things.insert_many([{"_id": number} for number in range(5)])
    plan = write_plan(tmp_path, stores, database.name, {"things": {"use_case": "cache", "key": f"{unique}:{{_id}}"}})
    assert offramp("backfill", plan, folder=tmp_path).code == 0
    return plan


def test_every_command_refuses_a_state_that_was_exported_until_it_is_taken_back(copied: Path, tmp_path: Path) -> None:
    exported = offramp("state", "export", copied, "moved", folder=tmp_path)
    assert (exported.code, exported.err) == (0, "")
    assert f"offramp state import {copied} moved" in exported.out
    for command in (
        ("backfill",),
        ("verify",),
        ("sync",),
        ("status",),
        ("report",),
        ("check",),
        ("repair",),
        ("rejects", "list"),
        ("rejects", "retry"),
        ("rejects", "drop", "--all", "--reason", "x"),
        ("backfill", "--restart"),
    ):
        name = command[:2] if command[0] == "rejects" else command[:1]
        refused = offramp(*name, copied, *command[len(name) :], folder=tmp_path)
        assert refused.code == 2, (command, refused.out, refused.err)
        assert "E-STATE-MOVED" in refused.out + refused.err, command
        assert str(tmp_path / "moved") in refused.out + refused.err
    again = offramp("state", "export", copied, "moved-again", folder=tmp_path)
    assert (again.code, (tmp_path / "moved-again").exists()) == (2, False)
    assert offramp("state", "reopen", copied, folder=tmp_path).code == 2
    back = offramp("state", "reopen", copied, "--never-imported", folder=tmp_path)
    assert (back.code, "open again" in back.out) == (0, True)
    assert offramp("verify", copied, folder=tmp_path).code == 0
    assert "is open" in offramp("state", "reopen", copied, folder=tmp_path).out


def test_the_file_is_for_its_owner_alone_and_takes_no_others_place(copied: Path, tmp_path: Path) -> None:
    (tmp_path / "there").write_text("mine")
    refused = offramp("state", "export", copied, "there", folder=tmp_path)
    assert (refused.code, (tmp_path / "there").read_text()) == (2, "mine")
    assert "E-STATE-FILE" in refused.err
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o777)
    assert "E-STATE-UNSAFE" in offramp("state", "export", copied, "shared/moved", folder=tmp_path).err
    before = os.umask(0)
    try:
        assert offramp("state", "export", copied, "moved", folder=tmp_path).code == 0
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "moved").stat().st_mode) == 0o600
    name_state(copied, f"sqlite:///{tmp_path}/elsewhere.db")
    (tmp_path / "moved").chmod(0o666)
    assert "E-STATE-UNSAFE" in offramp("state", "import", copied, "moved", folder=tmp_path).err
    (tmp_path / "moved").chmod(0o600)
    done = offramp("state", "import", copied, "moved", folder=tmp_path)
    assert (done.code, "delete moved" in done.out) == (0, True)
    again = offramp("state", "import", copied, "moved", folder=tmp_path)
    assert (again.code, "E-STATE-OCCUPIED" in again.err, "by this very file" in again.err) == (2, True, True)
    assert "E-STATE-FILE" in offramp("state", "import", copied, "not-there", folder=tmp_path).err


@pytest.mark.process
def test_a_state_moves_through_a_pipe(copied: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "flows.cli.main", "state"]
    exporting = subprocess.run([*command, "export", copied, "-"], cwd=tmp_path, capture_output=True, timeout=LIMIT_S)
    assert exporting.returncode == 0, exporting.stderr
    assert b"is exported to a pipe" in exporting.stderr
    name_state(copied, f"sqlite:///{tmp_path}/elsewhere.db")
    importing = subprocess.run(
        [*command, "import", copied, "-"], cwd=tmp_path, input=exporting.stdout, capture_output=True, timeout=LIMIT_S
    )
    assert importing.returncode == 0, importing.stderr
    assert offramp("verify", copied, folder=tmp_path).code == 0


def test_an_export_whose_pipe_takes_no_more_leaves_the_state_open(copied: Path, tmp_path: Path) -> None:
    with open("/dev/full", "wb") as full:
        exported = subprocess.run(
            [sys.executable, "-m", "flows.cli.main", "state", "export", str(copied), "-"],
            cwd=tmp_path,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=LIMIT_S,
        )
    assert exported.returncode == 2
    assert "E-STATE-FILE standard output cannot be written: No space left on device" in exported.stderr
    assert offramp("status", copied, folder=tmp_path).code == 0


def test_a_state_of_another_plan_or_with_a_run_at_work_does_not_move(copied: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/state.db"
    held_by = "UPDATE leases SET owner = 'elsewhere/7 pid:[1] 1', expires = 9e9"
    with_run = rows(url, "SELECT owner, expires FROM leases")
    assert with_run == [("", 0.0)]
    execute(url, held_by)
    refused = offramp("state", "export", copied, "moved", folder=tmp_path)
    assert (refused.code, "E-LEASE-HELD" in refused.err, "elsewhere/7" in refused.err) == (3, True, True)
    assert not (tmp_path / "moved").exists()
    execute(url, "UPDATE leases SET owner = ''")
    assert offramp("state", "export", copied, "moved", folder=tmp_path).code == 0
    other = copied.with_name("other.yaml")
    other.write_text(copied.read_text(), encoding="utf-8")
    name_state(other, f"sqlite:///{tmp_path}/elsewhere.db")
    wrong = offramp("state", "import", other, "moved", folder=tmp_path)
    assert (wrong.code, "plan 'plan'" in wrong.err, "plan 'other'" in wrong.err) == (2, True, True)


def test_a_state_of_an_earlier_release_is_upgraded_with_one_line(copied: Path, tmp_path: Path) -> None:
    """The file is that of commit 542cb7c, of the plan `shop`; what its pass has come to is in logs that are gone."""
    earlier = Path(__file__).parents[1] / "stores" / "state" / "state-542cb7c.sql"
    execute(f"sqlite:///{tmp_path}/earlier.db", earlier.read_text())
    (tmp_path / "earlier.db").chmod(0o600)
    keys = yaml.safe_load(copied.read_text()) | {"name": "shop"}
    keys["routes"] = {"orders": keys["routes"]["things"]}
    plan = tmp_path / "shop.yaml"
    plan.write_text(yaml.safe_dump(keys), encoding="utf-8")
    name_state(plan, f"sqlite:///{tmp_path}/earlier.db")
    before = (tmp_path / "earlier.db").read_bytes()
    check = offramp("check", plan, folder=tmp_path)
    assert "has format 2, of another release; the next run upgrades it" in check.out
    assert (tmp_path / "earlier.db").read_bytes() == before
    command = [sys.executable, "-m", "flows.cli.main", "status", str(plan)]
    upgraded = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=LIMIT_S)
    assert upgraded.returncode == 0, upgraded.stderr
    (told,) = upgraded.stderr.splitlines()
    assert told.endswith(f"as it was before it is kept in {tmp_path}/earlier.db.format-2")
    assert "orders" in upgraded.stdout
    again = offramp("status", plan, folder=tmp_path)
    assert (again.code, again.err) == (0, "")
