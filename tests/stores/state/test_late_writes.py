"""Documents whose requests may have reached a target when the lease of their run was over: kept until copied again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import bson
import pytest
from states import begun, execute

from stores.errors import LeaseLost
from stores.state.lease_term import Moment
from stores.state.leases import Lease
from stores.state.state import State

DOCUMENTS = [bson.encode({"_id": number, "text": "x"}) for number in range(3)]
POSITIONS = [bson.encode({"_id": number}) for number in range(3)]


def overtaken(state: State, opened: Callable[..., State]) -> tuple[Lease, Lease, State]:
    """Return the lease of a run, and that of the run which takes the route over, with its state."""
    old = begun(state)
    state.leases.renew(old)
    other = opened()
    state.leases.release(Lease(old.plan, old.route, old.owner, old.fence))  # As if it had expired.
    return old, other.leases.acquire("orders"), other


def lapse(lease: Lease, *, failing: bool = False, gone: str = "") -> None:
    """Let the lease end, as if the process had been stopped; then the answer fails to come, or the state is gone."""
    lease.term.lasts_until(Moment.now())
    if gone.startswith("sqlite"):
        Path(gone.removeprefix("sqlite:///")).unlink()
    elif gone:
        execute(gone, "DROP TABLE meta")
    if failing:
        raise ConnectionError("the answer did not come")


def test_what_was_under_way_when_the_lease_ended_is_on_record(state: State, opened: Callable[..., State]) -> None:
    old, new, other = overtaken(state, opened)
    journal = state.journal(old)
    with pytest.raises(LeaseLost) as told, journal.writing(DOCUMENTS):
        lapse(old)
    assert "its documents (3) are on record" in told.value.message
    assert [late.position for late in other.late_writes.of_route("orders")] == POSITIONS
    with pytest.raises(LeaseLost), journal.writing(DOCUMENTS):
        pytest.fail("a run whose lease is over writes nothing")
    assert len(other.late_writes.of_route("orders")) == 3  # Nothing was under way.
    assert other.late_writes.of_route("sessions") == []
    other.leases.ensure(new)


def test_an_error_of_the_body_is_not_what_a_lost_lease_is_told_as(state: State, opened: Callable[..., State]) -> None:
    old, _, other = overtaken(state, opened)
    with pytest.raises(LeaseLost), state.journal(old).writing(DOCUMENTS[:1]):
        lapse(old, failing=True)
    assert len(other.late_writes.of_route("orders")) == 1


def test_a_lease_that_lasts_leaves_nothing_on_record(state: State) -> None:
    lease = begun(state)
    with state.journal(lease).writing(DOCUMENTS):
        pass
    assert state.late_writes.of_route("orders") == []


def test_only_the_run_that_has_the_route_removes_and_never_a_later_entry(
    state: State, opened: Callable[..., State]
) -> None:
    old, new, other = overtaken(state, opened)
    state.late_writes.note("orders", POSITIONS[:1])
    known = [late.number for late in other.late_writes.of_route("orders")]
    with pytest.raises(LeaseLost):
        state.late_writes.remove(old, known)
    other.late_writes.remove(new, known)
    assert other.late_writes.of_route("orders") == []
    state.late_writes.note("orders", POSITIONS[:1])
    other.late_writes.remove(new, known)
    assert len(other.late_writes.of_route("orders")) == 1
    other.partitions.forget(new)
    assert other.late_writes.of_route("orders") == []


def test_where_no_document_is_known_or_can_be_kept_a_verification_is_asked_for(
    state: State, url: str, opened: Callable[..., State]
) -> None:
    old, _, _ = overtaken(state, opened)
    with pytest.raises(LeaseLost, match="run verify, then repair"), state.journal(old).writing(()):
        lapse(old)
    old.term.lasts_until(Moment.now().after(60))
    with pytest.raises(LeaseLost, match="are not on record"), state.journal(old).writing(DOCUMENTS):
        lapse(old, gone=url)
