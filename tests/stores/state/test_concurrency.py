"""Many connections at once: nothing of one is lost by another, and after a take-over nothing of the old run lands."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
import sqlalchemy as sa
from postgresqls import Postgresql
from states import LIMIT_S, begun, execute, rows, tally, until

from stores.contract.journal import Reject
from stores.errors import LeaseLost
from stores.state.leases import Lease
from stores.state.repairs import Action
from stores.state.state import State
from stores.state.tables import partitions

WAITING = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%FOR UPDATE%'"


class Writer(threading.Thread):
    """Records one document after the other under a lease, as fast as it can, until the lease is lost."""

    def __init__(self, state: State, lease: Lease) -> None:
        super().__init__()
        self._state = state
        self._lease = lease
        self.landed = 0
        self.failure: BaseException | None = None

    def run(self) -> None:
        reject = Reject("n:1", "map", "E", "", "r")
        try:
            while True:
                self._state.partitions.checkpoint(self._lease, 0, b"p", tally(1), [reject])
                self.landed += 1
        except LeaseLost:
            pass
        except BaseException as error:  # noqa: BLE001 - shown by the test, in its own thread
            self.failure = error


@pytest.mark.parametrize("rounds", [4, pytest.param(100, marks=pytest.mark.soak)])
def test_after_a_take_over_no_checkpoint_of_the_old_run_lands(
    opened: Callable[..., State], url: str, rounds: int
) -> None:
    """Each writer begins anew as soon as it can, so that checkpoints are under way whenever the route is taken."""
    # SQLite lets one writer in at a time, whoever asks first: many of them would only wait.
    states, taker = [opened() for _ in range(2 if url.startswith("sqlite") else 6)], opened()
    lease = begun(taker)

    def copied() -> int:
        return taker.partitions.of_route("orders")[0].tally.read

    for _ in range(rounds):
        before = copied()
        writers = [Writer(state, lease) for state in states]
        for writer in writers:
            writer.start()
        until(lambda: all(writer.landed or writer.failure for writer in writers))  # noqa: B023
        execute(url, "UPDATE leases SET expires = 0")
        lease = taker.leases.acquire("orders")
        at_take_over = copied()
        for writer in writers:
            writer.join(LIMIT_S)
        assert [writer.failure for writer in writers] == [None] * len(writers)
        assert copied() == at_take_over == before + sum(writer.landed for writer in writers)


def test_a_take_over_waits_for_a_checkpoint_under_way_and_a_renewal_does_not(
    postgresql: Postgresql, postgresql_url: str
) -> None:
    state, other = State(postgresql_url, "shop"), State(postgresql_url, "shop")
    lease = begun(state)
    taken = threading.Event()

    def take() -> None:
        other.leases.acquire("orders")
        taken.set()

    with state.leases.fenced(lease) as db:
        state.leases.renew(lease)
        execute(postgresql_url, "UPDATE leases SET expires = 0")
        thread = threading.Thread(target=take)
        thread.start()
        until(lambda: bool(postgresql.execute(WAITING)))
        assert not taken.is_set()
        db.exec_driver_sql("SELECT 1")
    thread.join(LIMIT_S)
    assert taken.is_set()
    with pytest.raises(LeaseLost), state.leases.fenced(lease):
        pytest.fail("the fence is another now")
    for each in (state, other):
        each.close()


def test_a_claim_waits_for_a_checkpoint_under_way_by_the_worker_that_had_the_job(
    postgresql: Postgresql, postgresql_url: str
) -> None:
    """Else the new worker would begin before it, and count its documents again."""
    state, other = State(postgresql_url, "shop"), State(postgresql_url, "shop")
    run = begun(state)
    found: list[int] = []

    def take() -> None:
        with other.claims.claimed(run, "copy", 0):
            found.append(other.partitions.of_route("orders")[0].tally.read)

    with state.claims.claimed(run, "copy", 0) as own:
        taking = threading.Thread(target=take)
        with state.leases.fenced(own) as db:
            db.execute(sa.update(partitions).values(tally=tally(7).to_json()))
            taking.start()
            until(lambda: bool(found or postgresql.execute(WAITING)))
            assert found == []
            ((learned_at,),) = postgresql.execute("SELECT extract(epoch FROM clock_timestamp())::float8")
        taking.join(LIMIT_S)
    assert found == [7]
    # Until then the old worker may have learned that the lease lasts a full term.
    ((busy_until,),) = rows(postgresql_url, "SELECT busy_until FROM claims")
    assert isinstance(busy_until, float)
    assert busy_until > learned_at + 60
    state.close()
    other.close()


def test_splits_and_repairs_of_many_workers_get_numbers_of_their_own(opened: Callable[..., State]) -> None:
    states = [opened() for _ in range(6)]
    lease = begun(states[0])
    states[0].work_requests.request(lease, 100)
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for at in range(8):
                states[number].repairs.record(lease, [Action("repair", "copied", id=f"n:{number}.{at}")])
                states[number].partitions.split(lease, number % 2, b"%d" % (9 - at))
        except BaseException as error:  # noqa: BLE001 - shown below, in the test's own thread
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT_S)
    assert failures == []
    assert len([*states[0].repairs.actions("orders")]) == 6 * 8
    assert len(states[0].partitions.of_route("orders")) == 2 + 6 * 8
