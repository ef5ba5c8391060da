"""What a run asks of its workers: no more partitions than it asked for, and a stop that nothing undoes."""

from __future__ import annotations

import time

import pytest
from state_traffic import counted_transactions
from states import until

from stores.contract.source import Partition
from stores.errors import LeaseLost
from stores.state.leases import Lease
from stores.state.state import State
from stores.state.work_requests import LOOK_EVERY_S, Asked


@pytest.fixture
def lease(state: State) -> Lease:
    lease = state.leases.acquire("orders")
    state.partitions.begin(lease, {}, "", "", [Partition(0)])
    return lease


def test_a_request_is_met_once_for_each_partition(state: State, lease: Lease) -> None:
    requests = state.work_requests
    assert not requests.requested(lease)
    requests.request(lease, 5)
    requests.request(lease, 1)  # In place of the five.
    assert requests.requested(lease)
    assert state.partitions.split(lease, 0, b"m") == Partition(0, None, b"m")
    assert not requests.requested(lease)
    assert state.partitions.split(lease, 0, b"g") is None
    assert len(state.partitions.of_route("orders")) == 2


def test_a_later_request_does_not_undo_a_stop(state: State, lease: Lease) -> None:
    requests = state.work_requests
    requests.request(lease, 1)
    requests.stop([lease])
    assert (requests.stopped(lease), requests.requested(lease)) == (True, False)
    for partitions in (2, 0):
        requests.request(lease, partitions)
        assert (requests.stopped(lease), requests.requested(lease)) == (True, False)
    assert state.partitions.split(lease, 0, b"m") is None
    state.partitions.forget(lease)
    assert requests.stopped(lease)


def test_a_stop_is_for_the_leases_it_names_and_those_before_them(state: State, lease: Lease) -> None:
    requests = state.work_requests
    other = state.leases.acquire("sessions")
    state.leases.release(lease)
    successor = state.leases.acquire("orders")
    requests.stop([lease])  # Too late: another run is at work.
    assert [requests.stopped(one) for one in (lease, successor, other)] == [True, False, False]
    requests.request(successor, 1)
    assert requests.requested(successor)
    requests.stop([successor, other])
    requests.stop([lease])
    assert [requests.stopped(one) for one in (lease, successor, other)] == [True, True, True]


def test_the_next_run_begins_without_the_requests_of_the_last(state: State, lease: Lease) -> None:
    state.work_requests.request(lease, 3)
    state.leases.release(lease)
    successor = state.leases.acquire("orders")
    assert not state.work_requests.requested(successor)
    with pytest.raises(LeaseLost):
        state.work_requests.request(lease, 1)
    assert not state.work_requests.requested(successor)


def test_plans_in_one_file_do_not_stop_each_other(state: State, lease: Lease, url: str) -> None:
    other = State(url, "archive")
    theirs = other.leases.acquire("orders")
    other.work_requests.stop([theirs])
    assert (other.work_requests.stopped(theirs), state.work_requests.stopped(lease)) == (True, False)
    other.close()


def test_all_who_work_under_a_lease_share_one_look_in_a_second(state: State, lease: Lease) -> None:
    requests = state.work_requests
    asked: list[Asked] = []

    def look() -> Asked:
        asked.append(requests.latest(lease))
        return asked[-1]

    with counted_transactions() as transactions:
        began = time.monotonic()
        requests.request(lease, 1)
        state.rejects.halt(lease, "too many")
        until(lambda: look() == Asked(False, True, True))
        requests.stop([lease])
        until(lambda: look() == Asked(True, False, True))
        elapsed_s = time.monotonic() - began
    looks = transactions.total - 3  # Without the request, the halt and the stop.
    assert 2 <= looks <= 1 + elapsed_s / LOOK_EVERY_S < len(asked)
