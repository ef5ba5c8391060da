"""A run that is stopped within a request, overtaken and woken changes nothing more, whatever it was doing."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from plans import Finished, Stores, offramp, start, write_plan
from pymongo.database import Database
from relay import Relay, Seen, relaying
from waiting import until

from flows.connect.stores import with_design
from flows.plan.load import load
from stores.contract.target import Listable
from stores.state.state import State

Documents = Database[dict[str, Any]]
DOCUMENTS = 300
LIMIT_S = 90
SERVERS = ("dynamodb", "redis", "elasticsearch")


@dataclass
class Place:
    """A plan whose targets are reached through relays."""

    path: Path
    folder: Path
    relays: Mapping[str, Relay]
    routes: tuple[str, ...]
    began: list[Any] = field(default_factory=list)

    def offramp(self, *arguments: str, code: int = 0) -> Finished:
        """Run a command as another run would, to its end."""
        done = offramp(*self._command(arguments), folder=self.folder)
        assert done.code == code, f"{arguments}: {done.out}{done.err}"
        return done

    def stopped_run(self, arguments: tuple[str, ...], kept: Mapping[str, Callable[[Seen], bool]]) -> Any:
        """Return a run that is stopped while these requests of it are kept back."""
        for server, chosen in kept.items():
            self.relays[server].keep_back(chosen)
        run = start(*self._command(arguments), folder=self.folder)
        self.began.append(run)

        def waits() -> bool:
            assert run.poll() is None, run.communicate()
            return all(self.relays[server].kept_back.is_set() for server in kept)

        until(waits, f"request of each of {[*kept]} kept back", limit_s=LIMIT_S)
        until(lambda: self._stops(run.pid), "run stopped outside of a transaction", limit_s=LIMIT_S)
        return run

    def _command(self, arguments: Sequence[str]) -> list[str | Path]:
        """Return the arguments with the plan behind the command's words."""
        words = 2 if arguments[0] == "rejects" else 1
        return [*arguments[:words], self.path, *arguments[words:]]

    def edit(self, section: str, **keys: Any) -> None:
        """Change these keys of a section of the plan, or of a route."""
        plan = yaml.safe_load(self.path.read_text())
        (plan["run"] if section == "run" else plan["routes"][section]).update(keys)
        self.path.write_text(yaml.safe_dump(plan))

    def _stops(self, pid: int) -> bool:
        """Return whether the process is stopped, with its workers; it goes on if one of them has the state locked.

        Nobody could overtake it then.
        """
        processes = _family(pid)
        for process in processes:
            process.send_signal(signal.SIGSTOP)
        until(
            lambda: all(process.status() == psutil.STATUS_STOPPED for process in processes if process.is_running()),
            "stopped processes",
        )
        with closing(sqlite3.connect(self.folder / "state.db", timeout=0, isolation_level=None)) as db:
            try:
                db.execute("BEGIN IMMEDIATE")
                db.execute("ROLLBACK")
            except sqlite3.OperationalError:
                _send(processes, signal.SIGCONT)
                return False
        return True

    def expired(self) -> float:
        """Return the time when the run's leases have expired."""
        plan = load(self.path)
        state = State(plan.state, plan.name)
        try:
            until(lambda: not any(map(state.leases.holder, self.routes)), "lease expired", limit_s=LIMIT_S)
        finally:
            state.close()
        return time.monotonic()

    def woken(self, run: Any, since: float, *, drop: bool) -> str:
        """Wake the run, let it end, and return what it said; nothing that it sent since then changes anything."""
        for relay in self.relays.values():
            relay.release(drop=drop)
        _send(_family(run.pid), signal.SIGCONT)
        out, err = run.communicate(timeout=LIMIT_S)
        late = {server: [*map(str, relay.changes_since(since))] for server, relay in self.relays.items()}
        assert not any(late.values()), {server: requests[:3] for server, requests in late.items()}
        return str(out + err)

    def verify(self) -> None:
        """Every route holds what its source says; a part of a large item that nothing points at may be left of one."""
        done = offramp("verify", self.path, "--json", folder=self.folder)
        wrong = {row["route"]: row for row in done.json["routes"] if row["verdict"] != "clean"}
        if wrong:
            assert [*wrong] == ["parts"], wrong
            assert (wrong["parts"]["missing"], wrong["parts"]["differs"]) == (0, 0), wrong
            self.offramp("repair", "--delete-extras", "--route", "parts")
            self.offramp("verify", "--route", "parts")

    def lose(self, route: str, records: int) -> None:
        """Delete so many records of the route from its target, past the program."""
        plan = load(self.path)
        state = State(plan.state, plan.name)
        with closing(with_design(plan.routes[route].target(), state.designs.get(route))) as target:
            assert isinstance(target, Listable)
            target.delete([*islice(target.addresses(), records)])
        state.close()

    def late_writes(self) -> dict[str, int]:
        """Return how many documents are on record to be copied again, by route."""
        plan = load(self.path)
        state = State(plan.state, plan.name)
        try:
            return {route: len(state.late_writes.of_route(route)) for route in self.routes}
        finally:
            state.close()


def _family(pid: int) -> Sequence[psutil.Process]:
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def _send(processes: Sequence[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def nth(number: int, *texts: bytes) -> Callable[[Seen], bool]:
    """Choose the request that is so manieth of those with one of these texts."""
    found: list[Seen] = []

    def chosen(seen: Seen) -> bool:
        if any(text in seen.data for text in texts):
            found.append(seen)
        return len(found) >= number

    return chosen


@pytest.fixture
def place(starts_process: None, stores: Stores, database: Documents, unique: str, tmp_path: Path) -> Iterator[Place]:
    at = {"collection": "things"}
    routes = {
        "items": {**at, "use_case": "entity", "table": unique},
        "parts": {
            "collection": "large",
            "use_case": "entity",
            "table": f"{unique}-parts",
            "oversize": "split",
            "key": {"partition": "pk#{_id}", "sort": "sk#{_id}"},
        },
        "strings": {**at, "use_case": "cache", "key": f"{unique}:s:{{_id}}"},
        "hashes": {**at, "target": "redis", "mapper": "hash", "key": f"{unique}:h:{{_id}}"},
        "members": {**at, "use_case": "set", "member": "_id", "key": f"{unique}:members"},
        "ranks": {**at, "use_case": "leaderboard", "score": "n", "member": "_id", "key": f"{unique}:ranks"},
        "stream": {**at, "use_case": "feed", "entry": "_id", "key": f"{unique}:stream"},
        "index": {**at, "use_case": "search", "index": unique},
    }
    with ExitStack() as running:
        relays = {
            "dynamodb": running.enter_context(relaying(stores.dynamodb)),
            "redis": running.enter_context(relaying(stores.redis, redis=True)),
            "elasticsearch": running.enter_context(relaying(stores.elasticsearch)),
        }
        relayed = Stores(stores.mongodb, relays["redis"].url, relays["dynamodb"].url, relays["elasticsearch"].url)
        run = {"lease_s": 5, "workers": len(routes)}
        path = write_plan(tmp_path, relayed, database.name, routes, run=run)
        made = Place(path, tmp_path, relays, tuple(routes))
        yield made
        for run_ in made.began:
            if run_.poll() is None:
                _send(_family(run_.pid), signal.SIGKILL)
            run_.communicate()


def seed(database: Documents) -> None:
    database.things.insert_many([{"_id": number + 1, "n": number, "text": "as it was"} for number in range(DOCUMENTS)])
    database.large.insert_many([{"_id": number, "noise": os.urandom(450_000)} for number in range(6)])


def change(database: Documents, text: str) -> None:
    """Change a third of the documents, and delete another."""
    database.things.update_many({"_id": {"$mod": [3, 0]}}, {"$set": {"text": text, "n": -1}})
    database.things.delete_many({"_id": {"$mod": [3, 1]}})
    database.large.update_many({"_id": {"$mod": [2, 0]}}, {"$set": {"noise": os.urandom(450_000)}})
    database.large.delete_one({"_id": 1})


WRITES: Mapping[str, Callable[[], Callable[[Seen], bool]]] = {
    "dynamodb": lambda: nth(3, b"BatchWriteItem"),
    "redis": lambda: nth(2, b"as it was"),
    "elasticsearch": lambda: nth(1, b"/_bulk"),
}


LATE = pytest.param(False, id="arriving late")
LOST = pytest.param(True, id="lost")


@pytest.mark.parametrize("drop", [LATE, pytest.param(True, id="lost", marks=pytest.mark.soak)])
def test_an_overtaken_backfill_changes_nothing_more(place: Place, database: Documents, *, drop: bool) -> None:
    seed(database)
    run = place.stopped_run(("backfill", "--verify", "none"), {server: WRITES[server]() for server in SERVERS})
    since = place.expired()
    place.offramp("backfill", "--verify", "none")
    change(database, "changed")
    place.offramp("sync")
    said = place.woken(run, since, drop=drop)
    assert run.returncode == 3, said
    assert "E-LEASE-LOST" in said
    noted = place.late_writes()
    assert noted["items"] > 0, said
    assert noted["index"] > 0, said
    assert "the next backfill, sync or repair of the route copies them again" in said
    place.offramp("sync")
    assert not any(place.late_writes().values())
    place.verify()


CHANGES: Mapping[str, Callable[[], Callable[[Seen], bool]]] = {
    "dynamodb": lambda: nth(1, b"BatchWriteItem"),
    "redis": lambda: nth(1, b"first"),
    "elasticsearch": lambda: nth(1, b"/_bulk"),
}


@pytest.mark.parametrize("drop", [pytest.param(False, id="arriving late", marks=pytest.mark.soak), LOST])
def test_an_overtaken_sync_changes_nothing_more(place: Place, database: Documents, *, drop: bool) -> None:
    seed(database)
    place.offramp("backfill", "--verify", "none")
    change(database, "first")
    run = place.stopped_run(("sync",), {server: CHANGES[server]() for server in SERVERS})
    since = place.expired()
    database.things.update_many({"_id": {"$mod": [6, 0]}}, {"$set": {"text": "second"}})
    database.things.delete_many({"_id": {"$mod": [6, 3]}})
    database.things.insert_one({"_id": 1, "n": 1, "text": "again"})
    place.offramp("sync")
    said = place.woken(run, since, drop=drop)
    assert run.returncode == 3, said
    assert "E-LEASE-LOST" in said
    assert place.late_writes()["items"] > 0, said
    place.offramp("sync")
    place.verify()


DELETES: Mapping[str, bytes] = {"items": b"DeleteRequest", "ranks": b"ZREM", "index": b'{"delete"'}
AT = {"items": "dynamodb", "ranks": "redis", "index": "elasticsearch"}


@pytest.mark.soak
@pytest.mark.parametrize("route", DELETES)
def test_an_overtaken_sweep_changes_nothing_more(route: str, place: Place, database: Documents) -> None:
    seed(database)
    place.offramp("backfill", "--verify", "none")
    change(database, "first")
    arguments = ("backfill", "--verify", "none", "--restart", "--route", route)
    run = place.stopped_run(arguments, {AT[route]: nth(1, DELETES[route])})
    since = place.expired()
    place.offramp("backfill", "--verify", "none", "--route", route)
    database.things.insert_one({"_id": 1, "n": 1, "text": "again"})
    place.offramp("sync", "--route", route)
    said = place.woken(run, since, drop=True)
    assert run.returncode == 3, said
    assert "run verify, then repair" in said
    place.offramp("sync", "--route", route)
    place.offramp("verify", "--route", route)


WRITTEN: Mapping[str, bytes] = {"items": b"BatchWriteItem", "ranks": b"ZADD", "index": b"/_bulk"}


@pytest.mark.soak
@pytest.mark.parametrize("route", WRITTEN)
def test_an_overtaken_repair_changes_nothing_more(route: str, place: Place, database: Documents) -> None:
    seed(database)
    place.offramp("backfill", "--verify", "none")
    place.lose(route, 40)
    place.offramp("verify", "--route", route, code=1)
    run = place.stopped_run(("repair", "--all", "--route", route), {AT[route]: nth(1, WRITTEN[route])})
    since = place.expired()
    change(database, "changed")
    place.offramp("sync", "--route", route)
    said = place.woken(run, since, drop=False)
    assert run.returncode == 3, said
    assert place.late_writes()[route] > 0, said
    place.offramp("repair", "--route", route)
    assert place.late_writes()[route] == 0
    place.offramp("verify", "--route", route)


@pytest.mark.soak
def test_overtaken_worker_processes_change_nothing_more(place: Place, database: Documents) -> None:
    """A worker process is told of the lease's end by the state alone, and its parent is stopped as well."""
    seed(database)
    place.edit("run", runner="processes", workers=2)
    arguments = ("backfill", "--verify", "none", "--route", "strings", "--route", "items")
    kept = {"redis": nth(1, b"as it was"), "dynamodb": nth(2, b"BatchWriteItem")}
    run = place.stopped_run(arguments, kept)
    since = place.expired()
    # The next run is this process, so that what worker processes send is of the run that was stopped.
    place.edit("run", runner="threads")
    place.offramp(*arguments)
    change(database, "changed")
    place.offramp("sync", "--route", "strings", "--route", "items")
    said = place.woken(run, since, drop=False)
    assert run.returncode == 3, said
    assert "E-LEASE-LOST" in said
    place.offramp("sync", "--route", "strings", "--route", "items")
    place.offramp("verify", "--route", "strings", "--route", "items")


@pytest.mark.soak
def test_an_overtaken_retry_of_rejects_changes_nothing_more(place: Place, database: Documents) -> None:
    """The documents that it copies fill several requests; those that follow the one kept back are not sent."""
    seed(database)
    database.things.update_many({"_id": {"$lte": 60}}, {"$set": {"text": "x" * 420_000}})
    chosen = ("--route", "items")
    place.offramp("backfill", "--verify", "none", *chosen, code=1)
    database.things.update_many({"_id": {"$lte": 60}}, {"$set": {"text": "as it was"}})
    run = place.stopped_run(("rejects", "retry", *chosen), {"dynamodb": nth(1, b"BatchWriteItem")})
    since = place.expired()
    change(database, "changed")
    place.offramp("rejects", "retry", *chosen)
    place.offramp("sync", *chosen)
    said = place.woken(run, since, drop=False)
    assert run.returncode == 3, said
    assert place.late_writes()["items"] > 0, said
    place.offramp("sync", *chosen)
    place.offramp("verify", *chosen)
