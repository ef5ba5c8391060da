"""A pass is remembered with its parts, findings outlive it, and only the run that holds the lease writes either."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from stores.contract.journal import Tally
from stores.contract.source import Partition
from stores.errors import LeaseLost
from stores.state.leases import Lease
from stores.state.state import State
from stores.state.verification import StoredFinding, log_folder

SCOPE = {"fingerprint": "a", "level": "full"}
PARTITIONS = [Partition(0, None, b"m"), Partition(1, b"m", None)]


def test_a_pass_goes_on_where_it_was_if_it_is_about_the_same(state: State, lease: Lease) -> None:
    room = state.verification
    assert room.under_way("orders") is None
    begun = room.begin(lease, SCOPE, 2, PARTITIONS)
    assert [(part.number, part.stage) for part in room.parts("orders")] == [
        *((0, "list"), (1, "list"), (2, "compare"), (3, "compare"))
    ]
    seen = Tally(read=3, copied=3, records=3, id_types=Counter(int=3))
    room.checkpoint(lease, 2, b"k", seen, 77)
    room.checkpoint(lease, 3, None, Tally(), 5, done=True)
    resumed = room.resume(lease, dict(reversed(SCOPE.items())))
    assert resumed is not None
    assert (resumed.id, resumed.began, resumed.resumed) == (begun.id, begun.began, 1)
    third, fourth = room.parts("orders")[2:]
    assert (third.partition, third.position, third.tally, third.size, third.done) == (
        *(Partition(2, None, b"m"), b"k", seen, 77, False),
    )
    assert (fourth.partition.lower, fourth.done) == (b"m", True)
    assert room.resume(lease, {**SCOPE, "fingerprint": "b"}) is None
    assert room.begin(lease, SCOPE, 1, PARTITIONS[:1]).id != begun.id
    assert [part.size for part in room.parts("orders")] == [0, 0]
    room.abandon(lease)
    assert room.resume(lease, SCOPE) is None


def test_findings_outlive_their_pass_and_the_next_whole_one_replaces_them(state: State, lease: Lease) -> None:
    room = state.verification
    room.begin(lease, SCOPE, 1, PARTITIONS)
    odd = StoredFinding("extra", "caf\udce9")
    room.end(lease, "p1", [StoredFinding("missing", "a", b"ida", "n:1"), odd, StoredFinding("collides", "a", None)])
    assert room.under_way("orders") is None
    assert [(one.kind, one.address, one.position, one.id, one.pass_id) for one in room.findings("orders")] == [
        ("collides", "a", None, "", "p1"),
        ("missing", "a", b"ida", "n:1", "p1"),
        ("extra", "caf\udce9", None, "", "p1"),
    ]
    room.end(
        lease,
        "p2",
        [StoredFinding("differs", "b", b"idb", "n:2"), StoredFinding("missing", "a", b"ida", "n:1")],
        whole=False,
    )
    assert [(one.address, one.pass_id) for one in room.findings("orders", ["missing", "differs"])] == [
        ("a", "p2"),
        ("b", "p2"),
    ]
    room.remove_findings(lease, ["a"])
    assert [one.address for one in room.findings("orders")] == ["b", "caf\udce9"]
    room.end(lease, "p3", [])
    assert list(room.findings("orders")) == []


def test_only_the_holder_of_the_lease_writes_and_forgetting_a_route_forgets_both(state: State, lease: Lease) -> None:
    room = state.verification
    state.leases.release(lease)
    successor = state.leases.acquire("orders")
    for write in (
        lambda: room.begin(lease, SCOPE, 1, PARTITIONS),
        lambda: room.resume(lease, SCOPE),
        lambda: room.checkpoint(lease, 0, None, Tally(), 0),
        lambda: room.end(lease, "p", [StoredFinding("extra", "a")]),
        lambda: room.abandon(lease),
    ):
        with pytest.raises(LeaseLost):
            write()
    room.begin(successor, SCOPE, 1, PARTITIONS)
    room.end(successor, "p", [StoredFinding("extra", "a")], whole=False)
    state.partitions.forget(successor)
    assert room.under_way("orders") is None
    assert room.parts("orders") == []
    assert list(room.findings("orders")) == []


def test_logs_lie_beside_the_state_apart_for_each_route_and_plan(tmp_path: Path) -> None:
    places = {
        log_folder(f"sqlite:///{tmp_path}/state.db", plan, route) for plan in ("a", "b") for route in ("x", "y/../z")
    }
    assert len(places) == 4
    assert {place.parent for place in places} == {tmp_path / "state.db.verification"}
