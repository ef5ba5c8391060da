"""What a run remembers is all or nothing, is nobody else's, and survives whatever ends the run."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import bson
import pytest
import waiting

from mappers.losses import Loss
from stores.contract.journal import Reject, Tally
from stores.contract.source import Partition
from stores.errors import LeaseLost, OfframpError, PermanentError, PlanError, TransientError
from stores.state.database import Database
from stores.state.leases import Lease
from stores.state.partitions import PartitionState
from stores.state.state import State

LIMIT_S = 30.0
FINGERPRINT = {"mapper": "item", "options": {"key": None}}
PARTITIONS = [Partition(0, None, b"m"), Partition(1, b"m", None)]


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/state.db"


@pytest.fixture
def opened(url: str) -> Iterator[Callable[..., State]]:
    """Open the state as another run would: ``opened(plan="shop", lease_s=60)``."""
    running: list[State] = []

    def open_one(plan: str = "shop", lease_s: float = 60) -> State:
        running.append(State(url, plan, lease_s))
        return running[-1]

    yield open_one
    for one in running:
        one.close()


@pytest.fixture
def state(opened: Callable[..., State]) -> State:
    return opened()


@pytest.fixture
def process() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Run Python code with this module's imports in another process; its standard output is a pipe."""
    running: list[subprocess.Popen[str]] = []
    head = (
        "import sys, time\nfrom collections import Counter\nimport bson\n"
        "from stores.contract import Partition, Reject, Tally\nfrom stores.errors import *\n"
        "from stores.state.state import State\n"
    )

    def run(code: str, *args: str) -> subprocess.Popen[str]:
        running.append(
            subprocess.Popen(
                [sys.executable, "-c", head + code, *args],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                bufsize=1,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            )
        )
        return running[-1]

    yield run
    for one in running:
        one.kill()
        one.communicate()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def begun(state: State, route: str = "orders") -> Lease:
    lease = state.leases.acquire(route)
    state.partitions.begin(lease, FINGERPRINT, "source-uuid", "table-id", PARTITIONS)
    return lease


def until(condition: Callable[[], bool]) -> None:
    waiting.until(condition, "condition come true", limit_s=LIMIT_S)


def rows(url: str, query: str) -> list[tuple[object, ...]]:
    """Ask the file itself, past the module."""
    db = sqlite3.connect(url.removeprefix("sqlite:///"))
    try:
        return db.execute(query).fetchall()
    finally:
        db.close()


def everything(url: str) -> list[list[tuple[object, ...]]]:
    return [rows(url, f"SELECT * FROM {table}") for table in ("routes", "partitions", "rejects", "leases")]


def tally(documents: int, **more: int) -> Tally:
    return Tally(read=documents, copied=documents, id_types=Counter(int=documents), **more)


# --- what is kept -----------------------------------------------------------------------------------------------------


def test_a_route_is_unknown_until_it_begins_and_then_as_it_began(opened: Callable[..., State]) -> None:
    state = opened()
    assert state.partitions.route("orders") is None
    assert state.partitions.of_route("orders") == []
    begun(state)
    state.close()
    kept = opened().partitions.route("orders")
    assert kept is not None
    assert (kept.fingerprint, kept.source_identity, kept.target_identity) == (FINGERPRINT, "source-uuid", "table-id")
    assert (kept.backfill_s, kept.outcome) == (0, None)
    assert opened().partitions.of_route("orders") == [PartitionState(part, None, False, Tally()) for part in PARTITIONS]


def test_checkpoints_add_up_and_the_last_position_stands(state: State) -> None:
    lease = begun(state)
    state.partitions.checkpoint(lease, 1, b"p", Tally(5, 1, 1, 3, 6, Counter(int=5), Counter(rounded=2)))
    state.partitions.checkpoint(
        lease, 1, b"q", Tally(2, 0, 0, 2, 4, Counter(int=1, string=1), Counter(rounded=1, nan=1))
    )
    state.partitions.checkpoint(lease, 1, None, Tally(), done=True)
    assert state.partitions.of_route("orders") == [
        PartitionState(PARTITIONS[0], None, False, Tally()),
        PartitionState(
            PARTITIONS[1], b"q", True, Tally(7, 1, 1, 5, 10, Counter(int=6, string=1), Counter(rounded=3, nan=1))
        ),
    ]


def test_losses_add_up_by_field_and_keep_a_few_examples(state: State) -> None:
    lease = begun(state)
    for number in range(4):
        examples = [f"n:{number}{digit}" for digit in range(3)]
        state.partitions.checkpoint(
            lease, 1, b"p", Tally(losses=Counter(nan=3), lost={("a.b", "nan"): Loss(3, examples)})
        )
    kept = state.partitions.of_route("orders")[1].tally
    assert kept.lost == {("a.b", "nan"): Loss(12, ["n:00", "n:01", "n:02", "n:10", "n:11"])}
    assert kept.losses == {"nan": 12}


def test_a_journal_writes_the_checkpoints_of_its_lease(state: State) -> None:
    journal = state.journal(begun(state))
    journal.ensure()
    journal.checkpoint(0, b"p", tally(3), [Reject("n:1", "map", "E-MAP-VALUE", "a.b", "too large")])
    journal.checkpoint(0, None, Tally(), done=True)
    assert state.partitions.of_route("orders")[0] == PartitionState(PARTITIONS[0], b"p", True, tally(3))
    assert [one.id for one in state.rejects.of_route("orders")] == ["n:1"]


def test_a_tally_survives_json() -> None:
    lost = {("a.b", "neg_zero"): Loss(1, ["n:1"]), ("", "rounded"): Loss(2)}
    one = Tally(9, 1, 2, 6, 12, Counter(int=4, objectId=5), Counter(neg_zero=1, rounded=2), lost)
    assert Tally.from_json(one.to_json()) == one
    assert Tally.from_json("{}") == Tally()
    assert isinstance(Tally.from_json(one.to_json()).losses, Counter)


def test_the_last_outcome_is_kept_and_the_time_adds_up(state: State) -> None:
    lease = begun(state)
    state.partitions.record_outcome(lease, 1.5, {"verdict": "clean", "read": 3})
    state.partitions.record_outcome(lease, 2.0, None)
    kept = state.partitions.route("orders")
    assert kept is not None
    assert (kept.backfill_s, kept.outcome) == (3.5, {"verdict": "clean", "read": 3})


def test_a_design_is_kept_for_the_plan_it_was_made_for_until_forgotten(state: State) -> None:
    lease = begun(state)
    assert state.designs.get("orders") is None
    state.designs.save(lease, {"b": 1, "a": 2}, {"properties": {}})
    assert state.designs.get("orders") == state.designs.get("orders", {"a": 2, "b": 1}) == {"properties": {}}
    assert state.designs.get("orders", {"a": 2, "b": 3}) is None
    assert state.designs.get("sessions") is None
    state.designs.save(lease, {}, {"index": "orders__2"})
    assert state.designs.get("orders") == {"index": "orders__2"}
    state.partitions.forget(lease)
    assert state.designs.get("orders") is None


def test_a_forgotten_route_leaves_nothing_but_its_lease(state: State, url: str) -> None:
    lease = begun(state)
    state.partitions.checkpoint(lease, 0, b"p", tally(3), [Reject("n:1", "map", "E", "", "r")])
    other = begun(state, "sessions")
    state.partitions.forget(lease)
    assert (
        state.partitions.route("orders"),
        state.partitions.of_route("orders"),
        [*state.rejects.of_route("orders")],
    ) == (None, [], [])
    assert state.leases.holder("orders")
    assert state.partitions.route("sessions") is not None
    state.leases.ensure(other)
    state.partitions.begin(lease, FINGERPRINT, "s", "t", PARTITIONS[:1])
    assert len(state.partitions.of_route("orders")) == 1


def test_a_reject_that_is_replayed_is_one_row_with_its_attempts(state: State, url: str) -> None:
    lease = begun(state)
    for reason in ("first", "second", "third"):
        state.partitions.checkpoint(lease, 0, b"p", tally(1), [Reject("n:1", "map", "E-MAP-VALUE", "a", reason)])
    state.partitions.checkpoint(lease, 0, b"p", tally(1), [Reject("n:1", "write", "413", "", "too large")])
    kept = [(one.id, one.stage, one.code, one.field, one.reason) for one in state.rejects.of_route("orders")]
    assert kept == [
        ("n:1", "map", "E-MAP-VALUE", "a", "third"),
        ("n:1", "write", "413", "", "too large"),
    ]
    assert rows(url, "SELECT stage, attempts FROM rejects ORDER BY stage") == [("map", 3), ("write", 1)]


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


def test_documents_copied_again_have_exactly_the_rejects_of_that_time(state: State, url: str) -> None:
    lease = begun(state)
    journal = state.journal(lease)
    kept = [Reject(f"n:{number}", stage, "E", "", "r") for number in range(4) for stage in ("map", "write")]
    state.partitions.checkpoint(lease, 0, None, tally(8), kept)
    again = Reject("n:2", "map", "E-OTHER", "", "r")
    journal.mend(["n:1", "n:2", "n:9"], [again, Reject("n:9", "map", "E", "", "r")])
    found = [(one.id, one.stage, one.code) for one in state.rejects.of_route("orders")]
    assert found == [
        *(("n:0", "map", "E"), ("n:0", "write", "E"), ("n:2", "map", "E-OTHER")),
        *(("n:3", "map", "E"), ("n:3", "write", "E"), ("n:9", "map", "E")),
    ]
    assert rows(url, "SELECT attempts FROM rejects WHERE id = 'n:2'") == [(2,)]
    state.leases.release(lease)
    state.leases.acquire("orders")
    with pytest.raises(LeaseLost):
        journal.mend(["n:0"], [])


def test_ids_that_differ_after_a_nul_or_in_case_are_two_rejects(state: State) -> None:
    lease = begun(state)
    ids = ["s:a\0b", "s:a\0c", "s:A\0b", "s:a", "s:é", "s:e\u0301"]
    state.partitions.checkpoint(lease, 0, b"p", tally(6), [Reject(own, "map", "E", "", "r") for own in ids])
    assert sorted(one.id for one in state.rejects.of_route("orders")) == sorted(ids)


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
        assert rows(url, "PRAGMA integrity_check") == [("ok",)]
        fresh.close()


# --- who may write ----------------------------------------------------------------------------------------------------


def test_a_lease_held_by_a_living_process_is_refused(
    opened: Callable[..., State], url: str, process: Callable[..., subprocess.Popen[str]]
) -> None:
    holder = process("State(sys.argv[1], 'shop').leases.acquire('orders')\nprint('held')\nsys.stdin.readline()\n", url)
    assert line(holder) == "held"
    state = opened()
    assert state.leases.holder("orders") == f"{socket.gethostname()}/{holder.pid}"
    with pytest.raises(TransientError) as told:
        state.leases.acquire("orders")
    assert told.value.code == "E-LEASE-HELD"
    assert str(holder.pid) in told.value.message
    state.leases.acquire("sessions")  # Another route is another lease.


def test_two_runs_in_one_process_do_not_share_a_lease(opened: Callable[..., State]) -> None:
    opened().leases.acquire("orders")
    with pytest.raises(TransientError):
        opened().leases.acquire("orders")


def test_the_lease_of_a_killed_process_is_free_at_once(
    opened: Callable[..., State], url: str, process: Callable[..., subprocess.Popen[str]]
) -> None:
    code = "State(sys.argv[1], 'shop', 3600).leases.acquire('orders')\nprint('held')\nsys.stdin.readline()\n"
    holder = process(code, url)
    assert line(holder) == "held"
    holder.send_signal(signal.SIGKILL)
    holder.wait(LIMIT_S)
    state = opened()
    assert state.leases.holder("orders") == ""
    assert state.leases.acquire("orders").fence == 2


@pytest.mark.parametrize("other", ["host", "namespace"])
def test_the_lease_of_a_process_we_cannot_see_is_free_only_when_it_expires(
    opened: Callable[..., State], url: str, other: str
) -> None:
    state = opened(lease_s=0.5)
    state.leases.acquire("orders")
    own = str(rows(url, "SELECT owner FROM leases")[0][0])
    name, namespace, started = own.split(" ")
    foreign = f"elsewhere/1 {namespace} {started}" if other == "host" else f"{name} pid:[1] {int(started) - 1}"
    db = sqlite3.connect(url.removeprefix("sqlite:///"))
    db.execute("UPDATE leases SET owner = ?, expires = ?", (foreign, time.time() + 3600))
    db.commit()
    with pytest.raises(TransientError):
        state.leases.acquire("orders")
    assert state.leases.holder("orders") == foreign.partition(" ")[0]
    db.execute("UPDATE leases SET expires = ?", (time.time() - 1,))
    db.commit()
    db.close()
    assert state.leases.holder("orders") == ""
    assert state.leases.acquire("orders").fence == 2


def test_a_pid_that_another_process_has_now_does_not_hold_a_lease(opened: Callable[..., State], url: str) -> None:
    state = opened(lease_s=3600)
    state.leases.acquire("orders")
    name, namespace, started = str(rows(url, "SELECT owner FROM leases")[0][0]).split(" ")
    db = sqlite3.connect(url.removeprefix("sqlite:///"))
    db.execute("UPDATE leases SET owner = ?", (f"{name} {namespace} {int(started) - 1}",))
    db.commit()
    db.close()
    assert state.leases.acquire("orders").fence == 2


def test_a_released_lease_is_free_and_its_old_holder_may_not_write(opened: Callable[..., State]) -> None:
    one = opened()
    old = begun(one)
    one.leases.release(old)
    assert one.leases.holder("orders") == ""
    with pytest.raises(LeaseLost):
        one.leases.ensure(old)
    assert opened().leases.acquire("orders").fence == 2


def test_an_expired_lease_is_taken_over_and_the_old_one_can_do_nothing(opened: Callable[..., State], url: str) -> None:
    slow, quick = opened(lease_s=0.3), opened(lease_s=60)
    old = begun(slow)
    slow.partitions.checkpoint(old, 0, b"p", tally(3), [Reject("n:1", "map", "E", "", "r")])
    taken: list[Lease] = []

    def take() -> bool:
        try:
            taken.append(quick.leases.acquire("orders"))
        except TransientError:
            return False
        return True

    until(take)
    assert taken[0].fence == old.fence + 1
    before = everything(url)
    journal = slow.journal(old)
    for attempt in (
        lambda: journal.ensure(),
        lambda: journal.checkpoint(0, b"z", tally(9), [Reject("n:2", "map", "E", "", "r")]),
        lambda: journal.checkpoint(0, None, Tally(), done=True),
        lambda: slow.partitions.begin(old, {}, "", "", PARTITIONS),
        lambda: slow.designs.save(old, {}, {}),
        lambda: slow.partitions.forget(old),
        lambda: slow.partitions.record_outcome(old, 9.0, {"verdict": "clean"}),
        lambda: slow.leases.renew(old),
    ):
        with pytest.raises(LeaseLost) as told:
            attempt()
        assert told.value.code == "E-LEASE-LOST"
        assert "orders" in told.value.message
    slow.leases.release(old)  # Says nothing, and frees nothing of the other's.
    assert everything(url) == before
    quick.leases.ensure(taken[0])
    quick.partitions.checkpoint(taken[0], 0, b"q", tally(1))
    assert quick.partitions.of_route("orders")[0].tally.read == 4


def test_a_lease_that_is_renewed_lasts_another_full_term(opened: Callable[..., State], url: str) -> None:
    state = opened(lease_s=600)
    lease = state.leases.acquire("orders")
    db = sqlite3.connect(url.removeprefix("sqlite:///"))
    db.execute("UPDATE leases SET expires = ?", (time.time() + 5,))
    db.commit()
    db.close()
    before = time.time()
    state.leases.renew(lease)
    ((expires,),) = rows(url, "SELECT expires FROM leases")
    assert isinstance(expires, float)
    assert before + 600 <= expires <= time.time() + 600
    state.leases.ensure(lease)


def test_an_expired_lease_may_not_write_even_if_nobody_took_it(opened: Callable[..., State]) -> None:
    state = opened(lease_s=0.2)
    lease = begun(state)
    state.leases.ensure(lease)

    def refused() -> bool:
        try:
            state.leases.ensure(lease)
        except LeaseLost:
            return True
        return False

    until(refused)


@pytest.mark.parametrize("taken_over", [True, False])
def test_a_process_stopped_past_its_lease_writes_nothing_when_it_wakes(
    opened: Callable[..., State], url: str, process: Callable[..., subprocess.Popen[str]], taken_over: bool
) -> None:
    code = (
        "state = State(sys.argv[1], 'shop', 1.0)\n"
        "lease = state.leases.acquire('orders')\n"
        "state.partitions.begin(lease, {}, 's', 't', [Partition(0)])\n"
        "state.partitions.checkpoint(lease, 0, b'p', Tally(read=1))\n"
        "print('working')\n"
        "sys.stdin.readline()\n"
        "ensure = lambda: state.leases.ensure(lease)\n"
        "checkpoint = lambda: state.partitions.checkpoint(lease, 0, b'z', Tally(read=9))\n"
        "for act in (ensure, checkpoint):\n"
        "    try: act()\n"
        "    except LeaseLost as error: print(error.code)\n"
        "    else: print('wrote')\n"
    )
    sleeper = process(code, url)
    assert line(sleeper) == "working"
    sleeper.send_signal(signal.SIGSTOP)
    assert sleeper.stdin is not None
    sleeper.stdin.write("go\n")
    sleeper.stdin.flush()
    state = opened()
    until(lambda: state.leases.holder("orders") == "")
    if taken_over:
        lease = state.leases.acquire("orders")
        state.partitions.checkpoint(lease, 0, b"q", Tally(read=5))
    before = everything(url)
    sleeper.send_signal(signal.SIGCONT)
    assert line(sleeper) == "E-LEASE-LOST"
    if taken_over:
        assert line(sleeper) == "E-LEASE-LOST"
        assert everything(url) == before
        state.leases.ensure(lease)


def test_one_of_many_that_ask_at_once_gets_the_lease(opened: Callable[..., State]) -> None:
    states = [opened() for _ in range(8)]
    together = threading.Barrier(8)
    answers: list[str] = []

    def ask(state: State) -> None:
        together.wait(LIMIT_S)
        try:
            state.leases.acquire("orders")
        except OfframpError as error:
            answers.append(error.code)
        else:
            answers.append("held")

    threads = [threading.Thread(target=ask, args=(one,)) for one in states]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT_S)
    assert sorted(answers) == ["E-LEASE-HELD"] * 7 + ["held"]


# --- the file ---------------------------------------------------------------------------------------------------------


def test_the_file_and_its_journal_are_for_their_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        state = State(f"sqlite:///{tmp_path}/a/new/folder/state.db", "shop")
        begun(state)
    finally:
        os.umask(before)
    files = sorted((tmp_path / "a/new/folder").iterdir())
    assert [file.name for file in files] == ["state.db", "state.db-shm", "state.db-wal"]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    state.close()


def test_a_file_that_others_could_read_is_closed_to_them(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    path.touch(0o666)
    path.chmod(0o666)
    State(f"sqlite:///{path}", "shop").close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_committed_checkpoint_is_made_to_survive_a_power_cut(url: str) -> None:
    database = Database(url, "shop")
    with database.reading() as db:
        assert db.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert db.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL
    database.close()


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
    assert rows(url, "SELECT * FROM meta") == [("schema", "2")]


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("", "no database URL"),
        (".offramp/state.db", "no database URL"),
        ("sqlite://h:s3cr3t/x", "no database URL"),
        ("postgresql://user:s3cr3t@host/db", "'postgresql'"),
        ("sqlite+aiosqlite:///x.db", "'sqlite+aiosqlite'"),
        ("sqlite://", "no plain file"),
        ("sqlite:///:memory:", "no plain file"),
        ("sqlite:///file:x.db?mode=memory&uri=true", "no plain file"),
        ("sqlite:///x.db?mode=ro", "no plain file"),
        ("sqlite://host/x.db", "no plain file"),
    ],
)
def test_a_state_that_is_no_sqlite_file_is_a_fault_of_the_plan(
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


def test_a_path_that_cannot_be_written_is_a_fault_of_the_plan(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    (tmp_path / "folder").mkdir()
    (tmp_path / "text").write_text("no database, though long enough to be taken for one " * 20)
    for name, word in (("file/state.db", "file exists"), ("folder", "is a directory"), ("text", "not a database")):
        with pytest.raises(PlanError) as told:
            State(f"sqlite:///{tmp_path}/{name}", "shop")
        assert told.value.code == "E-STATE-OPEN"
        assert word in told.value.message.lower()
    assert (tmp_path / "text").read_text().startswith("no database")


def test_a_file_of_another_format_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    db = sqlite3.connect(path)
    db.executescript("CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT); INSERT INTO meta VALUES ('schema', '99');")
    db.close()
    with pytest.raises(PlanError) as told:
        State(f"sqlite:///{path}", "shop")
    assert told.value.code == "E-STATE-VERSION"
    assert "99" in told.value.message
    assert rows(f"sqlite:///{path}", "SELECT name FROM sqlite_master WHERE type = 'table'") == [("meta",)]


def test_a_state_destroyed_under_a_run_stops_it_with_an_error_of_ours(state: State, url: str) -> None:
    lease = begun(state)
    db = sqlite3.connect(url.removeprefix("sqlite:///"))
    for table in ("routes", "partitions", "rejects", "leases"):
        db.execute(f"DROP TABLE {table}")
    db.commit()
    db.close()
    for ask in (
        lambda: state.leases.ensure(lease),
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


def test_a_process_that_opens_the_state_twice_keeps_what_it_writes_while_others_come_and_go(
    url: str, opened: Callable[..., State], process: Callable[..., subprocess.Popen[str]]
) -> None:
    first = opened()
    lease = begun(first)
    opened().close()  # By the same process: an open and close of the file would drop the locks of `first`.
    look = (
        "state = State(sys.argv[1], 'shop', 60)\nprint(state.partitions.route('orders').source_identity)\nstate.close()"
    )
    assert line(process(look, url)) == "source-uuid"

    first.partitions.checkpoint(lease, 0, b"k", Tally(read=1, copied=1, records=1))

    look = (
        "state = State(sys.argv[1], 'shop', 60)\n"
        "print(state.partitions.of_route('orders')[0].tally.read)\n"
        "state.close()"
    )
    assert line(process(look, url)) == "1"
