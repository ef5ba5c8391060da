"""One run at a time may write a route, and one that lost its lease writes nothing."""

from __future__ import annotations

import os
import pickle
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from states import LIMIT_S, PARTITIONS, begun, everything, execute, line, rows, tally, until

from stores.contract.journal import Reject, Tally
from stores.errors import LeaseLost, OfframpError, TransientError
from stores.state.lease_term import Moment
from stores.state.leases import Lease
from stores.state.owners import is_gone, owner_of_this_process
from stores.state.state import State


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


def test_the_lease_of_a_killed_process_that_nobody_reaped_is_free_at_once(
    opened: Callable[..., State], url: str, process: Callable[..., subprocess.Popen[str]]
) -> None:
    code = "State(sys.argv[1], 'shop', 3600).leases.acquire('orders')\nprint('held')\nsys.stdin.readline()\n"
    holder = process(code, url)
    assert line(holder) == "held"
    holder.send_signal(signal.SIGKILL)  # It is not waited for, so it stays in the table of processes.
    until(lambda: psutil.Process(holder.pid).status() == psutil.STATUS_ZOMBIE)
    state = opened()
    assert state.leases.holder("orders") == ""
    assert state.leases.acquire("orders").fence == 2


def test_a_process_whose_first_thread_alone_has_ended_is_not_gone(tmp_path: Path) -> None:
    owner = owner_of_this_process()
    stat = Path(f"/proc/{os.getpid()}/stat").read_text()
    head, _, rest = stat.rpartition(")")
    fields = rest.split()
    shown = tmp_path / str(os.getpid()) / "stat"
    shown.parent.mkdir()
    for state, threads, gone in (("Z", "2", False), ("Z", "1", True), ("X", "1", True), ("T", "1", False)):
        shown.write_text(f"{head}) {' '.join([state, *fields[1:17], threads, *fields[18:]])}")
        assert is_gone(owner, tmp_path) is gone, (state, threads)


def test_a_living_process_that_the_kernel_hides_is_not_gone(
    tmp_path: Path, process: Callable[..., subprocess.Popen[str]]
) -> None:
    own = owner_of_this_process()
    name, namespace, started, _ = own.split(" ")
    host = name.rpartition("/")[0]
    # Nothing is shown in an empty folder, as under hidepid=2; the first process of a machine is another user's or ours.
    assert not is_gone(own, tmp_path)
    assert not is_gone(f"{host}/1 {namespace} {started}", tmp_path)
    ended = process("")
    ended.wait(LIMIT_S)
    assert is_gone(f"{host}/{ended.pid} {namespace} {started}", tmp_path)


def test_a_living_process_of_another_user_that_the_kernel_hides_is_not_gone(
    tmp_path: Path, process: Callable[..., subprocess.Popen[str]]
) -> None:
    _, namespace, started, _ = owner_of_this_process().split(" ")
    code = (
        "import os\nfrom pathlib import Path\nfrom stores.state.owners import is_gone\n"
        "if os.getuid() == 0: os.setuid(65534)\n"  # The first process of a machine is then another user's.
        "print(is_gone(sys.argv[1], Path(sys.argv[2])))\n"
    )
    asked = process(code, f"{socket.gethostname()}/1 {namespace} {started}", str(tmp_path))
    assert line(asked) == "False"


@pytest.mark.parametrize("other", ["host", "namespace", "boot"])
def test_the_lease_of_a_process_we_cannot_see_is_free_only_when_it_expires(
    opened: Callable[..., State], url: str, other: str
) -> None:
    state = opened(lease_s=0.5)
    state.leases.acquire("orders")
    own = str(rows(url, "SELECT owner FROM leases")[0][0])
    name, namespace, started, boot = own.split(" ")
    foreign = {
        "host": f"elsewhere/1 {namespace} {started} {boot}",
        "namespace": f"{name} pid:[1] {int(started) - 1} {boot}",
        # Another machine of this name, whose namespace has the same number, as most have.
        "boot": f"{name} {namespace} {int(started) - 1} 00000000-0000-0000-0000-000000000000",
    }[other]
    execute(url, f"UPDATE leases SET owner = '{foreign}', expires = {time.time() + 3600}")
    with pytest.raises(TransientError):
        state.leases.acquire("orders")
    assert state.leases.holder("orders") == foreign.partition(" ")[0]
    execute(url, f"UPDATE leases SET expires = {time.time() - 1}")
    assert state.leases.holder("orders") == ""
    assert state.leases.acquire("orders").fence == 2


@pytest.mark.parametrize("release", ["this", "earlier"])
def test_a_pid_that_another_process_has_now_does_not_hold_a_lease(
    opened: Callable[..., State], url: str, release: str
) -> None:
    state = opened(lease_s=3600)
    state.leases.acquire("orders")
    name, namespace, started, boot = str(rows(url, "SELECT owner FROM leases")[0][0]).split(" ")
    boot = f" {boot}" if release == "this" else ""
    execute(url, f"UPDATE leases SET owner = '{name} {namespace} {int(started) - 1}{boot}'")
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
    execute(url, f"UPDATE leases SET expires = {time.time() + 5}")
    before = time.time()
    state.leases.renew(lease)
    ((expires,),) = rows(url, "SELECT expires FROM leases")
    assert isinstance(expires, float)
    assert before + 600 <= expires <= time.time() + 600
    state.leases.ensure(lease)


def test_an_expired_lease_may_not_write_even_if_nobody_took_it(opened: Callable[..., State]) -> None:
    state = opened(lease_s=3)
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


def test_a_worker_asks_the_state_only_when_half_of_the_term_that_it_knows_is_over(
    opened: Callable[..., State], url: str
) -> None:
    state = opened(lease_s=60)
    sent = pickle.loads(pickle.dumps(begun(state)))
    state.leases.ensure(sent)
    execute(url, "UPDATE leases SET fence = fence + 1")
    sent.term.lasts_until(Moment.now().after(31))
    state.leases.ensure(sent)
    sent.term.lasts_until(Moment.now().after(29))
    with pytest.raises(LeaseLost):
        state.leases.ensure(sent)
    with pytest.raises(LeaseLost):
        state.leases.fence(sent).ensure()


WORKING = (
    "import pickle\n"
    "state = State(sys.argv[1], 'shop', 5)\n"
    "print('ready')\n"
    "lease = pickle.loads(bytes.fromhex(sys.stdin.readline()))\n"
    "with state.claims.claimed(lease, 'copy', 1) as own:\n"
    "    state.leases.ensure(own)\n"
    "    print('working')\n"
    "    sys.stdin.readline()\n"
)


@pytest.mark.parametrize("ends", ["ended", "killed", "neither"])
def test_a_route_given_back_while_a_worker_elsewhere_is_at_work_is_free_when_its_lease_expires(
    opened: Callable[..., State], url: str, process: Callable[..., subprocess.Popen[str]], ends: str
) -> None:
    state = opened(lease_s=5)
    worker = process(WORKING, url)
    assert line(worker) == "ready"
    lease = state.leases.acquire("orders", outlived=True)
    assert worker.stdin is not None
    worker.stdin.write(f"{pickle.dumps(lease).hex()}\n")
    worker.stdin.flush()
    assert line(worker) == "working"
    if ends == "killed":
        worker.kill()
        worker.wait(LIMIT_S)
    elif ends == "ended":
        worker.communicate("go\n", timeout=LIMIT_S)
    state.leases.release(lease)
    assert state.leases.holder("orders") == ""
    other = opened(lease_s=5)
    if ends == "neither":
        with pytest.raises(TransientError) as told:
            other.leases.acquire("orders")
        assert told.value.code == "E-LEASE-HELD"
        assert f"{socket.gethostname()}/{worker.pid}" in told.value.message
        ((expires,),) = rows(url, "SELECT expires FROM leases")
        taken: list[Lease] = []

        def take() -> bool:
            try:
                taken.append(other.leases.acquire("orders"))
            except TransientError:
                return False
            return True

        until(take)
        assert isinstance(expires, float)
        assert time.time() >= expires  # By the clock of the database, which is this machine's.
    else:
        assert other.leases.acquire("orders").fence == 2
