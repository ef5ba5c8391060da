"""A state that commit 542cb7c began is upgraded, read whole and gone on with."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import bson
import pytest
from states import execute, line, rows

from mappers.losses import Loss
from stores.contract.changes import StreamPosition
from stores.contract.journal import Tally
from stores.contract.source import Partition
from stores.state.partitions import PartitionState, RouteState
from stores.state.rejects import Acceptance, RejectCount
from stores.state.repairs import Action
from stores.state.state import State
from stores.state.sync_positions import SyncState
from stores.state.upgrade import FORMAT
from stores.state.verification import Pass, StoredFinding

WHEN = 1763971200.0


@pytest.fixture
def url(sqlite_url: str) -> str:
    """No earlier release wrote to another database."""
    return sqlite_url


@pytest.fixture(autouse=True)
def _earlier(url: str) -> None:
    execute(url, Path(__file__).with_name("state-542cb7c.sql").read_text())


def at(number: int) -> bytes:
    return bson.encode({"_id": number})


COPIED = Tally(20, 1, 2, 17, 17, Counter(int=20), Counter(rounded=1), {("price", "rounded"): Loss(1, ["n:7"])})


def test_everything_on_record_is_read(state: State) -> None:
    route = RouteState({"use_case": "entity"}, "source-uuid", "table-id", WHEN, 12.5, None)
    assert state.partitions.route("orders") == route
    assert state.partitions.of_route("orders") == [
        PartitionState(Partition(0, None, at(50)), at(20), False, COPIED),
        PartitionState(Partition(1, at(50), None), None, True, Tally()),
    ]
    unfit, refused = state.rejects.of_route("orders")
    assert (unfit.id, unfit.code, unfit.attempts, unfit.first, unfit.position) == ("n:3", "E-MAP-VALUE", 1, WHEN, at(3))
    assert unfit.document == '{"_id": {"$numberInt": "3"}, "price": {"$numberInt": "1"}}'
    assert (refused.id, refused.acceptance) == ("n:4", Acceptance("anna", WHEN, "test data"))
    assert state.rejects.count("orders") == RejectCount(1, 1, 0, 1)
    assert state.rejects.halt_reason("orders") == "too many"
    assert state.designs.get("orders", {"use_case": "entity"}) == {"table": "orders"}
    assert state.designs.load_state("orders") == {"import": "arn:1"}
    position = SyncState(7 << 32 | 1, StreamPosition(8 << 32 | 2, b"later"), WHEN, 0.5, 3, 2, 1, "")
    assert state.sync_positions.get("orders") == position
    assert state.sync_positions.sweep_due("orders")
    assert state.document_hashes.known("orders", [at(1), at(2), at(3)]) == {at(1): b"hash of 1", at(2): b"hash of 2"}
    assert state.document_hashes.last_pass("orders") == 3
    assert state.verification.under_way("orders") == Pass("p2", WHEN, 0)
    assert [(part.stage, part.position, part.sums) for part in state.verification.parts("orders")] == [
        *(("list", None, {}), ("compare", at(10), {}))
    ]
    assert [*state.verification.findings("orders")] == [StoredFinding("differs", "n:5", at(5), "n:5", "p1")]
    assert [*state.repairs.actions("orders")] == [Action("repair", "copied", "missing", "caf\udce9", "n:9", WHEN)]
    assert state.repairs.recopied("orders")
    assert [(run.command, run.report) for run in state.runs.latest_first()] == [("backfill", b'{"plan": "shop"}')]
    assert not state.leases.holder("orders")


def test_a_run_goes_on_where_the_earlier_release_was(state: State, url: str, caplog: pytest.LogCaptureFixture) -> None:
    lease, stopped = state.leases.acquire("orders"), state.leases.acquire("sessions")
    assert (lease.fence, stopped.fence) == (3, 3)  # The upgrade raised it too.
    requests = state.work_requests
    assert (requests.requested(lease), requests.stopped(stopped)) == (False, False)  # They were for earlier workers.
    state.rejects.lift_halt(lease)
    requests.request(lease, 1)
    assert state.partitions.split(lease, 0, at(40)) == Partition(0, None, at(40))
    state.journal(lease).checkpoint(0, at(30), Tally(read=10, copied=10, records=10, id_types=Counter(int=10)))
    kept = state.partitions.of_route("orders")
    assert [part.partition for part in kept] == [
        *(Partition(0, None, at(40)), Partition(1, at(50), None), Partition(2, at(40), at(50)))
    ]
    assert (kept[0].position, kept[0].tally.read, kept[0].tally.id_types) == (at(30), 30, Counter(int=30))
    # What the pass had seen is in files beside the state, of which another machine knows nothing.
    assert state.verification.resume(lease, {"level": "full"}) is None
    assert "orders: the verification that an earlier release began cannot be resumed" in caplog.text
    requests.stop([lease])
    requests.request(lease, 1)
    assert requests.stopped(lease)
    assert rows(url, "SELECT value FROM meta WHERE key = 'schema'") == [(FORMAT,)]


def test_processes_that_open_it_at_once_upgrade_it_once(
    url: str, tmp_path: Path, process: Callable[..., subprocess.Popen[str]]
) -> None:
    code = (
        "print('ready')\nsys.stdin.readline()\n"
        "try:\n"
        "    state = State(sys.argv[1], 'shop')\n"
        "    lease = state.leases.acquire(sys.argv[2])\n"
        "    state.work_requests.stop([lease])\n"
        "    print(state.work_requests.stopped(lease))\n"
        "except Exception as error: print(repr(error))\n"
    )
    runs = [process(code, url, f"route{number}") for number in range(6)]
    assert [line(run) for run in runs] == ["ready"] * 6
    for run in runs:
        assert run.stdin is not None
        run.stdin.write("go\n")
        run.stdin.flush()
    assert [line(run) for run in runs] == ["True"] * 6
    assert rows(url, "SELECT count(*) FROM stops") == [(6,)]
    assert [path.name for path in tmp_path.glob("state.db.*")] == ["state.db.format-2"]
