"""A job belongs to the worker that claimed it last: one that was cut off counts and writes nothing more."""

from __future__ import annotations

import itertools
import pickle
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress

import bson
import psutil
import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from states import LIMIT_S, begun, everything, line, tally, until

from stores.contract.journal import Tally
from stores.contract.source import Partition
from stores.errors import LeaseLost, TransientError
from stores.state.lease_term import Moment
from stores.state.leases import Lease
from stores.state.state import State

TAKEN = "E-PARTITION-TAKEN"
WORKER = (
    "import pickle\n"
    "state = State(sys.argv[1], 'shop', 2)\n"
    "print('ready')\n"
    "run = pickle.loads(bytes.fromhex(sys.stdin.readline()))\n"
    "with state.claims.claimed(run, 'copy', 0) as lease:\n"
    "    fence = state.leases.fence(lease)\n"
    "    fence.ensure()\n"
    "    print('claimed')\n"
    "    for word in sys.stdin:\n"
    "        try:\n"
    "            if word == 'write\\n': fence.ensure()\n"
    "            else: state.partitions.checkpoint(lease, 0, b'z', Tally(read=7))\n"
    "        except LeaseLost as error: print(error.code)\n"
    "        else: print('done')\n"
)


def asked(worker: subprocess.Popen[str], word: str) -> str:
    """Return what the worker says of a lease it gets, or of a request to write to the target or to record."""
    assert worker.stdin is not None
    worker.stdin.write(f"{word}\n")
    worker.stdin.flush()
    return line(worker)


def expects_taken(call: Callable[[], object]) -> None:
    with pytest.raises(LeaseLost) as lost:
        call()
    assert lost.value.code == TAKEN


def test_of_two_workers_of_a_job_the_first_changes_nothing_more(
    state: State, opened: Callable[..., State], url: str
) -> None:
    run = begun(state)
    state.work_requests.request(run, 2)
    with ExitStack() as working:
        first = working.enter_context(state.claims.claimed(run, "copy", 0))
        other = working.enter_context(state.claims.claimed(run, "copy", 1))
        loading = working.enter_context(state.claims.claimed(run, "load"))
        state.partitions.checkpoint(first, 0, b"c", tally(3))
        second = working.enter_context(opened().claims.claimed(run, "copy", 0))
        before = everything(url)
        expects_taken(lambda: state.partitions.checkpoint(first, 0, b"d", tally(1)))
        expects_taken(lambda: state.partitions.split(first, 0, b"g"))
        expects_taken(lambda: state.rejects.halt(first, "too many"))
        assert everything(url) == before
        for held, number in ((second, 0), (other, 1)):
            state.partitions.checkpoint(held, number, b"z", tally(1), done=True)
        state.designs.save_load_state(loading, {"import": "arn:1"})
        state.partitions.record_outcome(run, 1.0, None)
    assert [part.tally.read for part in state.partitions.of_route("orders")] == [4, 1]


def test_a_worker_whose_job_was_claimed_never_learns_a_later_end(state: State, opened: Callable[..., State]) -> None:
    run: Lease = pickle.loads(pickle.dumps(begun(state)))
    claims = opened().claims
    with claims.claimed(run, "copy", 0) as lease:
        state.leases.ensure(lease)
        known_s = lease.term.left_s()
        assert 0 < known_s <= 60
        with claims.claimed(run, "copy", 0):
            assert 59 < state.claims.left_s("orders") <= 60
            assert state.claims.left_s("orders") >= lease.term.left_s()
            state.leases.renew(run)
            lease.term.lasts_until(Moment.now().after(29))  # It asks when half of the term is over.
            expects_taken(lambda: state.leases.ensure(lease))
    assert lease.term.left_s() < 0
    with claims.claimed(run, "copy", 0) as again:  # The same job, tried again in this process.
        state.leases.ensure(again)


def test_a_job_that_has_ended_keeps_nobody_waiting(state: State) -> None:
    run = begun(state)
    for work in ("copy", "load"):
        for _ in range(2):
            with state.claims.claimed(run, work):
                pass
    with pytest.raises(ValueError, match="of the job"), state.claims.claimed(run, "copy"):
        raise ValueError("of the job")
    with state.claims.claimed(run, "copy"):
        assert state.claims.left_s("orders") <= 0


def test_a_verification_writes_to_no_target_so_nobody_waits_for_it(state: State) -> None:
    run = begun(state)
    with state.claims.claimed(run, "verify", 1) as first, state.claims.claimed(run, "verify", 1):
        assert state.claims.left_s("orders") <= 0
        expects_taken(lambda: state.verification.abandon(first))


def test_a_worker_process_that_was_killed_keeps_nobody_waiting(
    state: State, url: str, process: Callable[..., subprocess.Popen[str]]
) -> None:
    worker = process(WORKER, url)
    assert line(worker) == "ready"
    run = begun(state)
    assert asked(worker, pickle.dumps(run).hex()) == "claimed"
    worker.kill()
    worker.wait(LIMIT_S)
    with state.claims.claimed(run, "copy", 0):
        assert state.claims.left_s("orders") <= 0


def test_a_paused_worker_process_writes_nothing_once_the_run_has_waited_for_it(
    opened: Callable[..., State], url: str, process: Callable[..., subprocess.Popen[str]]
) -> None:
    state = opened(lease_s=2)
    worker = process(WORKER, url)
    assert line(worker) == "ready"  # Before the lease, which is shorter than a process may take to begin.
    run = begun(state)
    assert asked(worker, pickle.dumps(run).hex()) == "claimed"
    assert [asked(worker, word) for word in ("write", "record")] == ["done", "done"]
    worker.send_signal(signal.SIGSTOP)
    until(lambda: psutil.Process(worker.pid).status() == psutil.STATUS_STOPPED)
    with state.claims.claimed(run, "copy", 0) as own:
        state.partitions.checkpoint(own, 0, b"z", tally(1), done=True)
    assert state.claims.left_s("orders") > 0

    def waited() -> bool:
        state.leases.renew(run)
        return state.claims.left_s("orders") <= 0

    until(waited)
    worker.send_signal(signal.SIGCONT)
    assert [asked(worker, word) for word in ("write", "record")] == [TAKEN, TAKEN]
    assert state.partitions.of_route("orders")[0].tally.read == 8


def test_the_route_is_not_free_while_a_lost_worker_may_write(opened: Callable[..., State]) -> None:
    state = opened(lease_s=2)
    run = begun(state)
    with state.claims.claimed(run, "copy", 0), state.claims.claimed(run, "copy", 0):
        state.leases.release(run)
    with pytest.raises(TransientError) as held:
        opened().leases.acquire("orders")
    assert held.value.code == "E-LEASE-HELD"
    assert "lost" in held.value.message
    state.leases.acquire("sessions")
    until(lambda: state.claims.left_s("orders") <= 0)
    new = opened().leases.acquire("orders")
    assert new.fence == run.fence + 1
    with state.claims.claimed(new, "copy", 0) as lease:
        assert lease.claim is not None
        assert lease.claim.claim == 1


def test_forgetting_what_a_run_copied_keeps_its_claims(state: State) -> None:
    run = begun(state)
    with state.claims.claimed(run, "copy", 0) as lease:
        state.partitions.forget(run)
        with state.leases.fenced(lease):
            pass


# --- a model: workers of the same partitions, each of which goes on whatever the others do ---------------------------

_numbers = itertools.count()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[State]:
    state = State(f"sqlite:///{tmp_path_factory.mktemp('state') / 'state.db'}", "shop")
    yield state
    state.close()


def works(state: State, run: Lease, number: int, target: Counter[int]) -> Iterator[None]:
    """Copy a partition as a worker does, and pause before each step: documents are numbers in order."""
    with ExitStack() as working:
        lease = working.enter_context(state.claims.claimed(run, "copy", number))
        yield
        part = {part.partition.number: part for part in state.partitions.of_route(run.route)}[number]
        upper = bson.decode(part.partition.upper or b"")["_id"]
        at = bson.decode(part.position or part.partition.lower or b"")["_id"]
        yield
        while at < upper:
            batch = range(at, min(at + 2, upper))
            state.leases.fence(lease).ensure()
            target.update(batch)
            yield
            at = batch.stop
            state.partitions.checkpoint(lease, number, bson.encode({"_id": at}), Tally(read=len(batch)))
            yield
            middle = (at + upper) // 2
            if middle > at and state.partitions.split(lease, number, bson.encode({"_id": middle})) is not None:
                upper = middle
            yield
        state.partitions.checkpoint(lease, number, None, Tally(), done=True)


@settings(max_examples=examples(40))
@given(st.integers(1, 20), st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=60), st.integers(0, 3))
def test_each_document_is_counted_once_whichever_workers_go_on(
    shared: State, documents: int, steps: list[tuple[int, bool]], wanted: int
) -> None:
    run = shared.leases.acquire(f"route {next(_numbers)}")
    whole = Partition(0, bson.encode({"_id": 0}), bson.encode({"_id": documents}))
    shared.partitions.begin(run, {}, "", "", [whole])
    shared.work_requests.request(run, wanted)
    target: Counter[int] = Counter()
    under_way: list[Iterator[None]] = []

    def undone() -> list[int]:
        return [part.partition.number for part in shared.partitions.of_route(run.route) if not part.done]

    def step(worker: Iterator[None]) -> None:
        with suppress(LeaseLost, StopIteration):
            next(worker)

    for chosen, begins in steps:
        if (begins or not under_way) and (numbers := undone()):
            under_way.append(works(shared, run, numbers[chosen % len(numbers)], target))
        if under_way:
            step(under_way[chosen % len(under_way)])
    for number in undone():
        for _ in works(shared, run, number, target):
            pass
    while numbers := undone():  # Those that came of a split of the last ones.
        for _ in works(shared, run, numbers[0], target):
            pass
    for worker in under_way:  # Those that were cut off wake up.
        for _ in range(4):
            step(worker)
    assert set(target) == set(range(documents))
    parts = shared.partitions.of_route(run.route)
    assert sum(part.tally.read for part in parts) == documents
    shared.leases.release(run)
