"""How far a route has come is on record, and adds up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from states import FINGERPRINT, PARTITIONS, begun, tally

from mappers.losses import Loss
from stores.contract.journal import Reject, Tally
from stores.state.partitions import PartitionState
from stores.state.state import State


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
