"""A pass is remembered with its parts, findings outlive it, and only the run that holds the lease writes either."""

from __future__ import annotations

import random
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from states import line

from flows.verifier.sketch import Sketch
from stores.contract.journal import Tally
from stores.contract.source import Partition
from stores.errors import LeaseLost
from stores.state.leases import Lease
from stores.state.state import State
from stores.state.verification import MOST_FINDINGS, Seen, StoredFinding, Suspect, former_log_folder

SHAPE = {"bits": 8}
SCOPE = {"fingerprint": "a", "level": "full"}
PARTITIONS = [Partition(0, None, b"m"), Partition(1, b"m", None)]


def test_a_pass_goes_on_where_it_was_if_it_is_about_the_same(state: State, lease: Lease) -> None:
    room = state.verification
    assert room.under_way("orders") is None
    begun = room.begin(lease, SCOPE, 2, PARTITIONS, SHAPE)
    assert [(part.number, part.stage) for part in room.parts("orders")] == [
        *((0, "list"), (1, "list"), (2, "compare"), (3, "compare"))
    ]
    tally = Tally(read=3, copied=3, records=3, id_types=Counter(int=3))
    room.checkpoint(lease, 2, b"k", tally, Seen({"held": 3}, {"expected": b"2"}, [StoredFinding("missing", "a", b"x")]))
    room.checkpoint(lease, 3, None, Tally(), done=True)
    resumed = room.resume(lease, dict(reversed(SCOPE.items())))
    assert resumed is not None
    assert (resumed.id, resumed.began, resumed.resumed, resumed.shape) == (begun.id, begun.began, 1, SHAPE)
    third, fourth = room.parts("orders")[2:]
    assert (third.partition, third.position, third.tally, third.sums, third.done) == (
        *(Partition(2, None, b"m"), b"k", tally, {"held": 3}, False),
    )
    assert (fourth.partition.lower, fourth.done) == (b"m", True)
    assert room.vectors("orders", 2) == {"expected": b"2"}
    assert room.found("orders") == [StoredFinding("missing", "a", b"x")]
    assert room.resume(lease, {**SCOPE, "fingerprint": "b"}) is None
    assert room.begin(lease, SCOPE, 1, PARTITIONS[:1], SHAPE).id != begun.id
    assert [part.sums for part in room.parts("orders")] == [{}, {}]
    assert (room.vectors("orders", 2), room.found("orders")) == ({}, [])
    room.abandon(lease)
    assert room.resume(lease, SCOPE) is None


def test_parts_that_are_done_leave_the_sum_of_what_they_have_seen(state: State, lease: Lease) -> None:
    room = state.verification
    room.begin(lease, SCOPE, 1, PARTITIONS, SHAPE)

    def add(one: bytes, other: bytes) -> bytes:
        return b"%d" % (int(one) + int(other))

    def done(number: int, **vectors: bytes) -> None:
        room.checkpoint(lease, number, None, Tally(), Seen({}, vectors), done=True, add=add)

    room.checkpoint(lease, 1, b"k", Tally(), Seen({}, {"expected": b"30", "absent": b"1"}))
    done(0, listed=b"40")
    assert room.vectors("orders") == {"listed": b"40"}
    done(1, expected=b"33", absent=b"2")
    assert room.vectors("orders", 1) == {}
    done(2, expected=b"4")
    assert room.vectors("orders") == {"listed": b"40", "expected": b"37", "absent": b"2"}
    # Another worker that did the same part adds nothing.
    with pytest.raises(LeaseLost, match="part 2"):
        done(2, expected=b"4")
    assert room.vectors("orders")["expected"] == b"37"


def test_what_a_pass_has_compared_is_counted_by_its_checkpoints(state: State, lease: Lease) -> None:
    room = state.verification
    assert room.compared("orders") is None
    room.begin(lease, SCOPE, 1, [Partition(0, None, b"m"), Partition(1, b"m", None)], SHAPE)
    assert room.compared("orders") == 0
    room.checkpoint(lease, 0, None, Tally(read=100))  # A share of the listing.
    for number, read in ((1, 3), (1, 5), (2, 4)):
        room.checkpoint(lease, number, None, Tally(read=read))
    assert room.compared("orders") == 9
    room.abandon(lease)
    assert room.compared("orders") is None


def test_parts_that_several_processes_end_at_once_add_up(
    state: State, lease: Lease, url: str, process: Callable[..., subprocess.Popen[str]]
) -> None:
    room, parts = state.verification, [Partition(number, None, None) for number in range(5)]
    room.begin(lease, SCOPE, 1, parts, SHAPE)
    code = (
        "from flows.verifier.sketch import Sketch, add_cells\n"
        "from stores.state.verification import Seen\n"
        "from stores.state.leases import Lease\n"
        "state = State(sys.argv[1], 'shop')\n"
        "lease = Lease('shop', 'orders', sys.argv[2], int(sys.argv[3]))\n"
        "number = int(sys.argv[4])\n"
        "sketch = Sketch(b'k', 10)\n"
        "sketch.add(f'{number} {at}' for at in range(100))\n"
        "print('ready', flush=True)\nsys.stdin.readline()\n"
        "seen = Seen({}, {'expected': sketch.to_bytes()})\n"
        "state.verification.checkpoint(lease, number, None, Tally(), seen, done=True, add=add_cells)\n"
        "print('done', flush=True)\n"
    )
    runs = [process(code, url, lease.owner, str(lease.fence), str(number)) for number in range(1, 6)]
    assert [line(run) for run in runs] == ["ready"] * 5
    for run in runs:
        assert run.stdin is not None
        run.stdin.write("go\n")
        run.stdin.flush()
    assert [line(run) for run in runs] == ["done"] * 5
    whole = Sketch(b"k", 10)
    whole.add(f"{number} {at}" for number in range(1, 6) for at in range(100))
    assert room.vectors("orders") == {"expected": whole.to_bytes()}


def test_suspects_make_further_parts_and_another_shape_makes_the_pass_anew(state: State, lease: Lease) -> None:
    room = state.verification
    room.begin(lease, SCOPE, 2, PARTITIONS, SHAPE)
    for number in range(4):
        room.checkpoint(lease, number, None, Tally(read=1), Seen(found=[StoredFinding("missing", "a")]), done=True)
    room.suspect(lease, b"hashes", ["reread", "relist"])
    parts = room.parts("orders")
    assert [(part.number, part.stage, part.partition.lower) for part in parts[4:]] == [
        *((4, "reread", None), (5, "reread", b"m"), (6, "relist", None), (7, "relist", None))
    ]
    pass_ = room.under_way("orders")
    assert pass_ is not None
    assert pass_.suspects == b"hashes"
    suspect = Suspect(b"h" * 16, "caf\udce9", {"SAME": 1})
    room.checkpoint(lease, 4, b"k", Tally(), Seen(suspects=[suspect]))
    more = Suspect(b"h" * 16, "caf\udce9", {"SAME": 2}, b"", b"idb")
    other = Suspect(b"h" * 16, "caf\udce9", {"MISSING": 1}, b"idc")
    room.checkpoint(lease, 4, b"l", Tally(), Seen(suspects=[more]), done=True)
    room.checkpoint(lease, 5, b"l", Tally(), Seen(suspects=[other]), done=True)
    assert [*room.suspects("orders", 4)] == [more]
    assert [*room.suspects("orders")] == [more, other]
    kept = [StoredFinding("collides", "a", b"ida")]
    room.begin_anew(lease, {"bits": 9}, {"slices": 1}, kept)
    assert [(part.stage, part.done, part.tally.read) for part in room.parts("orders")] == [
        *(("list", False, 0), ("list", False, 0), ("compare", False, 0), ("compare", False, 0))
    ]
    pass_ = room.under_way("orders")
    assert pass_ is not None
    assert (pass_.shape, pass_.sums, pass_.suspects) == ({"bits": 9}, {"slices": 1}, None)
    assert ([*room.suspects("orders")], room.vectors("orders"), room.found("orders")) == ([], {}, kept)


def test_findings_of_a_pass_are_bounded(state: State, lease: Lease) -> None:
    room = state.verification
    room.begin(lease, SCOPE, 1, PARTITIONS, SHAPE)
    many = [StoredFinding("missing", f"a{number}") for number in range(MOST_FINDINGS - 1)]
    room.checkpoint(lease, 1, b"k", Tally(), Seen(found=many))
    room.checkpoint(lease, 2, b"k", Tally(), Seen(found=many[:5]))
    room.checkpoint(lease, 2, b"l", Tally(), Seen(found=many[:5]))
    assert len(room.found("orders")) == MOST_FINDINGS


def test_findings_outlive_their_pass_and_the_next_whole_one_replaces_them(state: State, lease: Lease) -> None:
    room = state.verification
    room.begin(lease, SCOPE, 1, PARTITIONS, SHAPE)
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
        lambda: room.begin(lease, SCOPE, 1, PARTITIONS, SHAPE),
        lambda: room.resume(lease, SCOPE),
        lambda: room.checkpoint(lease, 0, None, Tally()),
        lambda: room.end(lease, "p", [StoredFinding("extra", "a")]),
        lambda: room.suspect(lease, b"", ["reread"]),
        lambda: room.begin_anew(lease, SHAPE),
        lambda: room.abandon(lease),
    ):
        with pytest.raises(LeaseLost):
            write()
    room.begin(successor, SCOPE, 1, PARTITIONS, SHAPE)
    room.end(successor, "p", [StoredFinding("extra", "a")], whole=False)
    state.partitions.forget(successor)
    assert room.under_way("orders") is None
    assert room.parts("orders") == []
    assert list(room.findings("orders")) == []


def test_logs_of_an_earlier_release_lie_beside_an_sqlite_state_alone(tmp_path: Path) -> None:
    places = {
        former_log_folder(f"sqlite:///{tmp_path}/state.db", plan, route)
        for plan in ("a", "b")
        for route in ("x", "y/../z")
    }
    assert len(places) == 4
    assert {place.parent for place in places if place} == {tmp_path / "state.db.verification"}
    assert former_log_folder("postgresql://host/name", "a", "x") is None


def test_addresses_of_any_length_are_told_apart_and_replaced(state: State, lease: Lease) -> None:
    room = state.verification
    long = random.Random(1).randbytes(20_000).hex()
    found = [StoredFinding("extra", f"{long}{end}") for end in ("a", "b")]
    for pass_id in ("p1", "p2"):
        room.end(lease, pass_id, found, whole=False)
    assert [(each.address[-1], each.pass_id) for each in room.findings("orders")] == [("a", "p2"), ("b", "p2")]
    room.remove_findings(lease, [f"{long}a"])
    assert [each.address[-1] for each in room.findings("orders")] == ["b"]
