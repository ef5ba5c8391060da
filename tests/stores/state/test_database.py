"""The file of a state: nobody else's, whole after a crash, one for many processes, and refused where it is unfit."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import bson
import pytest
from states import FINGERPRINT, LIMIT_S, begun, everything, execute, line, rows, tally

from stores.contract.journal import Reject, Tally
from stores.contract.source import Partition
from stores.errors import OfframpError, PermanentError, PlanError
from stores.state.state import State
from stores.state.upgrade import FORMAT


def test_a_checkpoint_that_fails_half_way_leaves_everything_as_it_was(state: State, url: str) -> None:
    lease = begun(state)
    state.partitions.checkpoint(lease, 0, b"p", tally(3))
    before = everything(url)
    kept, unfit = Reject("n:1", "map", "E", "", "r"), Reject("n:2", "map", None, "", "r")  # type: ignore[arg-type]
    with pytest.raises(PermanentError) as told:
        state.partitions.checkpoint(lease, 0, b"q", tally(2), [kept, unfit])
    assert told.value.code == "E-STATE-BROKEN"
    with pytest.raises(PermanentError):  # Of a second beginning nothing stays either.
        state.partitions.begin(lease, {}, "other", "other", [Partition(7)])
    assert everything(url) == before


def test_plans_in_one_file_do_not_see_each_other(opened: Callable[..., State]) -> None:
    one, other = opened("shop"), opened("archive")
    lease = begun(one)
    one.partitions.checkpoint(lease, 0, b"p", tally(3), [Reject("n:1", "map", "E", "", "r")])
    assert (
        other.partitions.route("orders"),
        other.partitions.of_route("orders"),
        [*other.rejects.of_route("orders")],
    ) == (None, [], [])
    assert other.leases.holder("orders") == ""
    theirs = begun(other)
    other.partitions.checkpoint(theirs, 0, b"z", tally(1))
    other.partitions.forget(theirs)
    assert one.partitions.of_route("orders")[0].position == b"p"
    assert len([*one.rejects.of_route("orders")]) == 1
    one.leases.ensure(lease)


def test_checkpoints_from_threads_and_processes_are_all_counted(
    state: State, url: str, process: Callable[..., subprocess.Popen[str]]
) -> None:
    lease = begun(state)
    code = (
        "from stores.state.leases import Lease\n"
        "state = State(sys.argv[1], 'shop')\n"
        "lease = Lease('shop', 'orders', sys.argv[2], int(sys.argv[3]))\n"
        "for at in range(40): state.partitions.checkpoint(lease, 1, b'%d' % at, Tally(read=1, copied=1))\n"
        "print('done')\n"
    )
    others = [process(code, url, lease.owner, str(lease.fence)) for _ in range(2)]
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for at in range(10):
                reject = Reject(f"n:{number}.{at}", "map", "E", "", "r")
                state.partitions.checkpoint(lease, number % 2, b"p", tally(1), [reject])
        except BaseException as error:  # noqa: BLE001 - shown below, in the test's own thread
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT_S)
    assert [line(other) for other in others] == ["done", "done"]
    assert failures == []
    assert [one.tally.read for one in state.partitions.of_route("orders")] == [40, 40 + 80]
    assert len([*state.rejects.of_route("orders")]) == 80


@pytest.mark.parametrize("kills", [6, pytest.param(60, marks=pytest.mark.soak)])
def test_a_killed_writer_leaves_whole_checkpoints(
    kills: int, opened: Callable[..., State], url: str, process: Callable[..., subprocess.Popen[str]]
) -> None:
    """The position names the last document; counts and rejects must be those of the documents up to it."""
    state = opened()
    state.leases.release(begun(state))
    code = (
        "state = State(sys.argv[1], 'shop')\n"
        "lease = state.leases.acquire('orders')\n"
        "at = int(sys.argv[2])\n"
        "while True:\n"
        "    batch = range(at + 1, at + 4)\n"
        "    rejects = [Reject(f'n:{n}', 'map', 'E', '', 'r') for n in batch if n % 2 == 0]\n"
        "    counts = Tally(read=3, rejected=len(rejects), copied=3 - len(rejects), id_types=Counter(int=3))\n"
        "    at += 3\n"
        "    state.partitions.checkpoint(lease, 0, bson.encode({'_id': at}), counts, rejects)\n"
        "    print(at, flush=True)\n"
    )
    at = 0
    for _ in range(kills):
        before, writer = at, process(code, url, str(at))
        told = [int(line(writer)) for _ in range(random.randint(1, 12))]
        writer.send_signal(signal.SIGKILL)
        writer.wait(LIMIT_S)
        fresh = opened()
        kept = fresh.partitions.of_route("orders")[0]
        assert kept.position is not None
        at = bson.decode(kept.position)["_id"]
        assert at >= told[-1] > before
        assert kept.tally == Tally(read=at, rejected=at // 2, copied=at - at // 2, id_types=Counter(int=at))
        assert {one.id for one in fresh.rejects.of_route("orders")} == {f"n:{number}" for number in range(2, at + 1, 2)}
        assert rows(url, "SELECT max(attempts) FROM rejects") == [(1,)]
        if url.startswith("sqlite"):
            assert rows(url, "PRAGMA integrity_check") == [("ok",)]
        fresh.close()


def test_runs_that_start_together_make_the_file_once(url: str, process: Callable[..., subprocess.Popen[str]]) -> None:
    code = (
        "print('ready')\nsys.stdin.readline()\n"
        "try: State(sys.argv[1], 'shop').leases.acquire(sys.argv[2])\n"
        "except Exception as error: print(repr(error))\n"
        "else: print('open')\n"
    )
    runs = [process(code, url, f"route{number}") for number in range(6)]
    assert [line(run) for run in runs] == ["ready"] * 6
    for run in runs:
        assert run.stdin is not None
        run.stdin.write("go\n")
        run.stdin.flush()
    assert [line(run) for run in runs] == ["open"] * 6
    assert rows(url, "SELECT value FROM meta WHERE key = 'schema'") == [(FORMAT,)]
    assert rows(url, "SELECT version_num FROM alembic_version") == [(FORMAT,)]


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("", "not a database URL"),
        (".offramp/state.db", "not a database URL"),
        ("sqlite://h:s3cr3t/x", "not a database URL"),
        ("mysql://user:s3cr3t@host/db", "'mysql'"),
        ("sqlite+aiosqlite:///x.db", "'sqlite+aiosqlite'"),
        ("sqlite://", "no plain file"),
        ("sqlite:///:memory:", "no plain file"),
        ("sqlite:///file:x.db?mode=memory&uri=true", "no plain file"),
        ("sqlite:///x.db?mode=ro", "no plain file"),
        ("sqlite://host/x.db", "no plain file"),
    ],
)
def test_a_state_that_is_no_file_and_no_postgresql_is_a_fault_of_the_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, word: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PlanError) as told:
        State(url, "shop")
    assert told.value.code == "E-STATE-URL"
    assert word in told.value.message
    assert "sqlite:///" in told.value.message
    assert "s3cr3t" not in told.value.message
    assert [*tmp_path.iterdir()] == []


def test_a_state_destroyed_under_a_run_stops_it_with_an_error_of_ours(state: State, url: str) -> None:
    lease = begun(state)
    for table in ("routes", "partitions", "rejects", "leases"):
        execute(url, f"DROP TABLE {table}")
    for ask in (
        lambda: state.leases.renew(lease),
        lambda: state.partitions.checkpoint(lease, 0, b"p", tally(1)),
        lambda: state.partitions.of_route("orders"),
        lambda: [*state.rejects.of_route("orders")],
        lambda: state.leases.acquire("orders"),
    ):
        with pytest.raises(OfframpError):
            ask()


def test_what_is_kept_of_a_route_is_readable_json(state: State, url: str) -> None:
    lease = begun(state)
    state.partitions.checkpoint(lease, 0, b"p", tally(3))
    assert json.loads(str(rows(url, "SELECT fingerprint FROM routes")[0][0])) == FINGERPRINT
    assert json.loads(str(rows(url, "SELECT tally FROM partitions WHERE number = 0")[0][0]))["read"] == 3
