"""Which worker of a cluster gets a job, how many get one, and what becomes of a job whose worker fails.

The cluster is one of the test's own, which says what each worker makes of a job and when.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from plans import Stores, write_plan
from waiting import until

from flows.connect.stores import open_state
from flows.orchestration.clusters import (
    ClusterGoneError,
    ClusterRun,
    WorkerDiedError,
    current,
    in_use,
    refuse_distant_workers,
)
from flows.orchestration.plan_source import PlanSource
from flows.orchestration.worker_entry import Answer, Parcel, Setup, setup_error, setup_fault
from flows.plan.load import load
from flows.plan.model import Plan
from flows.run.attempts import DIED, GONE, LEFT, SETUP
from flows.run.jobs import CopyJob
from stores.contract.stop import STOPPED
from stores.errors import OfframpError, PermanentError, PlanError, TransientError
from stores.state.leases import Lease
from stores.state.state import State

SOURCE = PlanSource(Path("plan.yaml"))


@dataclass
class Given:
    """A job with the cluster, of which something comes when the test says so."""

    avoided: frozenset[str]
    came: Future[Answer] = field(default_factory=Future)
    cancelled: bool = False
    looks: int = 0

    def wait(self, seconds: float) -> bool:
        self.looks += 1
        try:
            self.came.exception(min(seconds, 0.02))
        except TimeoutError:
            return False
        return True

    def answer(self) -> Answer:
        return self.came.result()

    def cancel(self) -> None:
        self.cancelled = True


@dataclass
class OwnCluster:
    """`clusters.Cluster` with as many slots as the test says."""

    name: str = "Own"
    most: int | None = 1
    names: Sequence[str] = ("a", "b")
    at: Sequence[str] = ("127.0.0.1",)
    given: list[Given] = field(default_factory=list)
    counted: int = 0

    def submit(self, _parcel: Parcel, avoided: frozenset[str]) -> Given:
        self.given.append(Given(avoided))
        return self.given[-1]

    def slots(self) -> int | None:
        self.counted += 1
        return self.most

    def workers(self) -> Sequence[str]:
        return self.names

    def hosts(self) -> Sequence[str]:
        return self.at


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    kinds = {"orders": {"use_case": "cache", "key": "orders:{_id}"}}
    return load(write_plan(tmp_path, Stores("mongodb://localhost", "redis://localhost", "", ""), "shop", kinds))


@pytest.fixture
def state(plan: Plan) -> Iterator[State]:
    with open_state(plan) as opened:
        yield opened


@pytest.fixture
def lease(state: State) -> Lease:
    return state.leases.acquire("orders")


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


class Case:
    """A run on a cluster, and its jobs."""

    def __init__(self, plan: Plan, lease: Lease, threads: ThreadPoolExecutor) -> None:
        self.cluster = OwnCluster()
        self.stop = threading.Event()
        self.run = ClusterRun(plan, self.cluster, self.stop)
        self._lease, self._threads = lease, threads

    def job(self, number: int = 0) -> CopyJob:
        return CopyJob("orders", number, self._lease)

    def begin(self, number: int = 0) -> Future[Any]:
        """Begin a job; the test goes on."""
        return self._threads.submit(self.run.do, SOURCE, self.job(number))

    def given(self, count: int) -> Given:
        """Return the last of so many jobs once the cluster has them."""
        until(lambda: len(self.cluster.given) >= count, f"job {count} with the cluster")
        return self.cluster.given[count - 1]

    def ended(self, came: Answer | Exception, number: int = 0) -> Any:
        """Let this come of a job, and return what that is for the run, an error too."""
        before = len(self.cluster.given)
        doing = self.begin(number)
        given = self.given(before + 1)
        given.came.set_exception(came) if isinstance(came, Exception) else given.came.set_result(came)
        return doing.exception(30) or doing.result()

    def is_looked_at(self) -> None:
        """Wait until each job was looked at once more, from beginning to end."""
        seen = [given.looks for given in self.cluster.given]
        until(lambda: all(given.looks > at + 1 for given, at in zip(self.cluster.given, seen, strict=True)), "look")

    def is_counted(self) -> None:
        """Wait until the workers were counted once more."""
        seen = self.cluster.counted
        until(lambda: self.cluster.counted > seen + 1, "count of the workers")


@pytest.fixture
def case(plan: Plan, lease: Lease, threads: ThreadPoolExecutor) -> Iterator[Case]:
    made = Case(plan, lease, threads)
    yield made
    for given in made.cluster.given:  # A test that failed leaves nobody waiting.
        if not given.came.done():
            given.came.set_exception(WorkerDiedError("the test is over"))
    made.stop.set()


def passing(worker: str, code: str = "E-SOURCE") -> Answer:
    return Answer(worker, TransientError(code, "away"))


def test_a_job_that_may_pass_elsewhere_avoids_the_workers_on_which_it_failed_and_no_other_job_does(case: Case) -> None:
    assert case.ended(passing("a")).code == "E-SOURCE"
    assert case.ended(passing("b")).code == "E-SOURCE"
    assert case.ended(Answer("c", "done")) == "done"
    assert case.ended(Answer("a", "other"), number=1) == "other"
    assert [given.avoided for given in case.cluster.given] == [
        frozenset(),
        frozenset("a"),
        frozenset("ab"),
        frozenset(),
    ]


@pytest.mark.parametrize("error", [TransientError(LEFT, "left"), PermanentError("E-MAP", "wrong")], ids=["left", "own"])
def test_a_worker_that_left_or_met_a_fault_of_the_job_is_not_avoided(case: Case, error: OfframpError) -> None:
    assert case.ended(Answer("a", error)) is error
    case.ended(Answer("a", "done"))
    assert [given.avoided for given in case.cluster.given] == [frozenset(), frozenset()]


def test_a_worker_without_what_the_run_has_gets_no_job_and_the_last_one_ends_it(case: Case) -> None:
    found = case.ended(Answer("a", setup_error("old", Setup.here())))
    assert (type(found), found.code) == (TransientError, SETUP)
    found = case.ended(Answer("b", setup_error("old", Setup.here())), number=1)
    assert (type(found), found.code) == (PermanentError, SETUP)
    assert case.cluster.given[1].avoided == frozenset("a")


def test_no_more_jobs_are_with_the_cluster_than_its_workers_do_so_that_one_that_joins_gets_one(case: Case) -> None:
    case.cluster.most = 0  # Such as one that starts workers when it has work.
    doing = [case.begin(number) for number in range(3)]
    first = case.given(1)
    case.is_counted()
    assert len(case.cluster.given) == 1
    case.cluster.most = 2
    second = case.given(2)
    case.is_counted()
    assert len(case.cluster.given) == 2
    second.came.set_result(Answer("b", "done"))
    case.given(3).came.set_result(Answer("b", "done"))
    first.came.set_result(Answer("a", "done"))
    assert [each.result(30) for each in doing] == ["done"] * 3


def test_a_cluster_that_keeps_jobs_for_whoever_joins_gets_all_at_once(case: Case) -> None:
    case.cluster.most = None
    doing = [case.begin(number) for number in range(4)]
    case.given(4)
    for given in case.cluster.given:
        given.came.set_result(Answer("a", "done"))
    assert [each.result(30) for each in doing] == ["done"] * 4


@pytest.mark.parametrize(("came", "code"), [(WorkerDiedError("was lost"), DIED), (ClusterGoneError("away"), GONE)])
def test_a_job_without_an_answer_may_be_tried_by_the_same_command(case: Case, came: Exception, code: str) -> None:
    found = case.ended(came)
    assert (type(found), found.code) == (TransientError, code)
    assert str(came) in found.message
    case.stop.set()
    assert case.ended(came).code == STOPPED


def test_a_stop_takes_back_a_job_that_nobody_has_begun_and_waits_for_one_that_is_under_way(
    case: Case, state: State, lease: Lease
) -> None:
    case.cluster.most = 3
    doing = [case.begin(0)]
    case.given(1)
    doing.append(case.begin(1))
    idle, busy = case.given(1), case.given(2)
    with state.claims.claimed(lease, *case.job(1).claim):
        case.stop.set()
        case.is_looked_at()
        assert not idle.cancelled  # A worker that begins it now does not know of the stop.
        state.work_requests.stop({lease})
        found = doing[0].exception(30)
        assert isinstance(found, TransientError)
        assert (found.code, idle.cancelled) == (STOPPED, True)
        before = busy.looks
        until(lambda: busy.looks > before + 1, "look")
        assert not busy.cancelled
        busy.came.set_result(Answer("a", "done"))
        assert doing[1].result(30) == "done"


def test_workers_on_other_machines_cannot_share_a_file(starts_server: None, plan: Plan) -> None:
    """The table of routes is asked as if something were sent."""
    refuse_distant_workers(plan, OwnCluster())
    distant = OwnCluster(at=("127.0.0.1", "203.0.113.7"))
    with pytest.raises(PlanError, match=r"203\.0\.113\.7"):
        refuse_distant_workers(plan, distant)
    refuse_distant_workers(replace(plan, state="postgresql://db.example/states"), distant)


def test_a_task_does_its_job_on_the_cluster_in_use_and_itself_without_one(case: Case) -> None:
    assert current() is None
    with in_use(case.run):
        assert current() is case.run
    assert current() is None


@pytest.mark.parametrize("change", [{"release": "0"}, {"python": "3.0"}], ids=["release", "python"])
def test_a_worker_has_the_release_and_the_python_of_its_run(change: dict[str, str]) -> None:
    here = Setup.here()
    assert setup_fault(here, here) is None
    fault = setup_fault(here, replace(here, **change))
    assert fault is not None
    assert fault.code == SETUP
    assert next(iter(change.values())) in fault.message
