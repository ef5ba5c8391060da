"""The end of a lease in memory: never later than the state says, by a clock that runs on and by the wall clock."""

from __future__ import annotations

import pickle
import subprocess
from collections.abc import Callable

import pytest
from states import LIMIT_S, begun, execute, line, rows, until

from stores.contract.fence import NO_FENCE, TargetFence
from stores.errors import LeaseLost
from stores.state.lease_term import LeaseTerm, Moment
from stores.state.leases import Lease
from stores.state.owners import owner_of_this_process, parent_needed
from stores.state.state import State

WORKER = (
    "import pickle\n"
    "state = State(sys.argv[1], 'shop', float(sys.argv[3]))\n"
    "lease = pickle.loads(bytes.fromhex(sys.argv[2]))\n"
    "fence = state.leases.fence(lease)\n"
    "print('ready')\n"
    "for _ in sys.stdin:\n"
    "    try: fence.ensure()\n"
    "    except LeaseLost as error: print(error.code)\n"
    "    else: print('may write')\n"
)


@pytest.mark.parametrize(("boot_s", "wall_s"), [(-1, 3600), (3600, -1)], ids=["since boot", "of the wall"])
def test_a_term_is_over_when_either_clock_says_so(boot_s: float, wall_s: float) -> None:
    term, now = LeaseTerm(), Moment.now()
    assert term.left_s() < 0
    term.lasts_until(now.after(60))
    assert 0 < term.left_s() <= 60
    term.lasts_until(Moment(now.boot_s + boot_s, now.wall_s + wall_s))
    assert term.left_s() < 0
    term.lasts_until(now.after(60))
    term.give_up()
    term.lasts_until(now.after(60))  # By a renewal that was under way.
    assert term.left_s() < 0


def test_a_fence_is_not_later_than_the_state_and_is_moved_by_a_renewal(state: State, url: str) -> None:
    lease = begun(state)
    ((expires,),) = rows(url, "SELECT expires FROM leases")
    assert isinstance(expires, float)
    assert lease.term.left_s() <= expires - Moment.now().wall_s + 0.001
    fence = state.leases.fence(lease)
    fence.ensure()
    lease.term.lasts_until(Moment.now())
    with pytest.raises(LeaseLost):
        fence.ensure()
    state.leases.renew(lease)
    fence.ensure()


def test_a_fence_asks_nobody_while_the_lease_lasts(state: State, url: str) -> None:
    lease = begun(state)
    fence = state.leases.fence(lease)
    execute(url, "UPDATE leases SET fence = fence + 1")
    fence.ensure()
    # What the state says is learned by the next renewal, and stops all that is still to be written.
    with pytest.raises(LeaseLost):
        state.leases.renew(lease)
    with pytest.raises(LeaseLost):
        fence.ensure()


def test_a_worker_learns_what_is_left_of_the_lease_and_never_more_than_a_full_term(state: State, url: str) -> None:
    begun(state)
    lease: Lease = pickle.loads(pickle.dumps(state.leases.acquire("sessions")))
    for moved, least, most in ((-40, 10, 20), (3600, 50, 60)):
        execute(url, f"UPDATE leases SET expires = expires + {moved}")
        lease.term.lasts_until(Moment.now())
        state.leases.ensure(lease)
        assert least < lease.term.left_s() <= most


def test_a_lease_sent_to_another_process_leaves_its_end_behind(state: State) -> None:
    lease = begun(state)
    sent = pickle.loads(pickle.dumps(lease))
    assert sent == lease
    assert hash(sent) == hash(lease)
    assert sent.term.left_s() < 0
    assert not sent.term.renewed_here


def asked(worker: subprocess.Popen[str]) -> str:
    assert worker.stdin is not None
    worker.stdin.write("?\n")
    worker.stdin.flush()
    return line(worker)


def test_a_worker_learns_renewals_from_the_state_and_must_be_a_child_of_its_run(
    opened: Callable[..., State], url: str, process: Callable[..., subprocess.Popen[str]]
) -> None:
    state = opened()
    lease = begun(state)
    child = process(WORKER, url, pickle.dumps(lease).hex(), "60")
    assert [line(child), asked(child)] == ["ready", "may write"]
    state.leases.renew(lease)
    assert asked(child) == "may write"
    # A process that is no child of the lease's owner would not see it end, after which the lease is free at once.
    owner = lease.owner.replace("/", "/1", 1)
    execute(url, f"UPDATE leases SET owner = '{owner}'")
    stranger = process(WORKER, url, pickle.dumps(Lease("shop", "orders", owner, lease.fence)).hex(), "60")
    assert [line(stranger), asked(stranger)] == ["ready", "E-LEASE-LOST"]


def test_a_lease_whose_workers_may_outlive_its_process_is_free_only_when_it_expires(
    opened: Callable[..., State], url: str, process: Callable[..., subprocess.Popen[str]]
) -> None:
    holder = process(
        "import pickle\n"
        "print(pickle.dumps(State(sys.argv[1], 'shop').leases.acquire('orders', outlived=True)).hex())\n",
        url,
    )
    sent = line(holder)
    assert holder.wait(LIMIT_S) == 0
    worker = process(WORKER, url, sent, "3")
    assert line(worker) == "ready"
    assert opened().leases.holder("orders").endswith(f"/{holder.pid}")
    state = opened(lease_s=3)
    state.leases.renew(pickle.loads(bytes.fromhex(sent)))
    assert asked(worker) == "may write"
    until(lambda: state.leases.holder("orders") == "")
    assert state.leases.acquire("orders").fence == 2
    assert asked(worker) == "E-LEASE-LOST"


def test_only_an_owner_and_its_children_may_work_for_it_unless_workers_outlive_it() -> None:
    assert parent_needed(owner_of_this_process()) is None
    assert parent_needed(owner_of_this_process(outlived=True)) is None
    assert parent_needed("host/17 pid:[1] 5") == 17
    assert parent_needed("") is None


def test_the_fence_of_a_target_lets_pass_until_one_is_set() -> None:
    class Closed:
        def ensure(self) -> None:
            raise LeaseLost("E-LEASE-LOST", "over")

    fence = TargetFence()
    fence.ensure()
    fence.set(Closed())
    with pytest.raises(LeaseLost):
        fence.ensure()
    fence.set(NO_FENCE)
    fence.ensure()
