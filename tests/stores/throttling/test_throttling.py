"""Targets that throttle, over their real protocols: the rate settles near what they take, and nothing is lost.

Their capacity is by a clock that only pacing moves, so what was sent is counted, and nothing depends on how fast this
machine is.
"""

from __future__ import annotations

import json
import threading
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import orjson
import pytest
import redis
import yaml
from botocore.awsrequest import AWSResponse
from clocks import Clock
from http_servers import Reply, Request, serving
from pymongo.database import Database
from waiting import until

from flows.copying.partition import copy_partition
from flows.copying.projection import Projection
from flows.plan.load import load
from flows.quantities import seconds
from flows.reporting.model import Report
from flows.reporting.text import as_text
from flows.reporting.wording import slowed_down
from flows.run.backfill import backfill
from flows.run.jobs import CopyJob, Job
from flows.run.verify import verify
from flows.run.workers import More, Run, Threads
from mappers.contract import Losses
from mappers.dynamodb.records import Item, Key, item
from mappers.elasticsearch.records import index_document
from mappers.redis.records import String
from stores.contract.journal import Reject, Tally
from stores.contract.source import Partition
from stores.contract.stop import PROCESS_STOP
from stores.dynamodb.target import DynamoDBTarget
from stores.elasticsearch.target import ElasticsearchTarget
from stores.errors import TransientError
from stores.memory import MemorySource
from stores.mongodb.configuration import Connection
from stores.mongodb.database import MongoDB
from stores.redis.target import RedisTarget
from stores.throttling import rate_limiter as pacing
from stores.throttling.backoff import TIMING, Timing
from stores.throttling.limits import ceilings
from stores.throttling.rate_limiter import Pace, Pacer


class Capacity:
    """So many units a second by the clock, a quarter of a second of them at once."""

    def __init__(self, clock: Clock, rate: float, request_s: float = 0.002) -> None:
        self._clock, self.rate, self._request_s = clock, rate, request_s
        self._left, self._at = 0.0, 0.0
        self._lock = threading.Lock()
        self.offered = self.taken = 0

    def take(self, units: int) -> bool:
        self._left = min(self.rate / 4, self._left + self.rate * (self._clock.now - self._at))
        self._at = self._clock.now
        self.offered += units
        if self._left < units:
            return False
        self._left -= units
        self.taken += units
        return True

    def some(self, sizes: list[int]) -> list[bool]:
        """Return which of the records get through; a request takes a moment."""
        self._clock.wait(self._request_s)
        with self._lock:
            return [self.take(size) for size in sizes]


@pytest.fixture
def clock() -> Clock:
    return Clock()


def by(clock: Clock) -> Timing:
    """Return the timing by which a target's pace and its retries pass no other time."""
    return Timing(clock, clock)


# DynamoDB


@pytest.fixture
def table(dynamodb_endpoint: str, unique: str) -> Iterator[Callable[..., DynamoDBTarget]]:
    made: list[DynamoDBTarget] = []

    def target(key: Key = Key("_id"), timing: Timing = TIMING, **keys: Any) -> DynamoDBTarget:  # noqa: B008 - frozen
        connection = DynamoDBTarget.Connection(endpoint=dynamodb_endpoint, region="eu-west-1", **keys)
        made.append(DynamoDBTarget(connection, DynamoDBTarget.Placement(key=key), unique, timing=timing))
        made[-1].prepare()
        return made[-1]

    yield target
    for one in made:
        one.close()


def throttling(target: DynamoDBTarget, takes: Callable[[list[dict[str, Any]]], list[bool]]) -> list[list[Any]]:
    """Leave those puts of a batch unprocessed that are not taken; returns the puts of each request."""
    client = target.calls.client()
    server = boto3.client("dynamodb", endpoint_url=client.meta.endpoint_url, region_name="eu-west-1")
    requests: list[list[Any]] = []

    def respond(request: Any, **_: Any) -> AWSResponse:
        [(name, puts)] = orjson.loads(request.body)["RequestItems"].items()
        requests.append([put["PutRequest"]["Item"] for put in puts])
        taken = takes(requests[-1])
        done = [put for put, got in zip(puts, taken, strict=True) if got]
        if done:
            server.batch_write_item(RequestItems={name: done})
        left = [put for put, got in zip(puts, taken, strict=True) if not got]
        if left and not done:
            body = b'{"__type":"x#ProvisionedThroughputExceededException","message":""}'
            return AWSResponse("", 400, {}, SimpleNamespace(stream=lambda: iter([body])))
        body = orjson.dumps({"UnprocessedItems": {name: left} if left else {}})
        return AWSResponse("", 200, {}, SimpleNamespace(stream=lambda: iter([body])))

    client.meta.events.register("before-send.dynamodb.BatchWriteItem", respond)
    return requests


class Notebook:
    """A journal that adds up."""

    def __init__(self) -> None:
        self.tally = Tally()
        self.rejects: list[Reject] = []
        self.done = False

    def ensure(self) -> None:
        """Always ours."""

    def writing(self, documents: Any, /) -> AbstractContextManager[None]:
        """Always ours."""
        return nullcontext()

    def checkpoint(self, number: int, position: Any, tally: Tally, rejects: Any = (), *, done: bool = False) -> None:
        self.tally.add(tally)
        self.rejects += rejects
        self.done = done


@pytest.mark.parametrize("whole", [True, False], ids=["refusing requests", "leaving items unprocessed"])
def test_a_table_that_throttles_is_written_near_its_capacity_and_the_books_balance(
    table: Any, clock: Clock, whole: bool
) -> None:
    target = table(timing=by(clock), retry_deadline_s=60)
    capacity = Capacity(clock, 1000)

    def takes(puts: list[Any]) -> list[bool]:
        sizes = [len(puts)] if whole else [1] * len(puts)
        return capacity.some(sizes) * (len(puts) if whole else 1)

    throttling(target, takes)
    documents = [{"_id": number, "n": number} for number in range(3_000)]
    journal = Notebook()
    projection = Projection(
        lambda document: [item({"_id": str(document["_id"]), "n": document["n"]})], Losses(), (Item,)
    )
    assert copy_partition(MemorySource(documents, batch_documents=500), projection, target, journal, Partition(0))
    assert journal.done
    assert (journal.tally.read, journal.tally.copied, journal.tally.records, journal.rejects) == (
        3_000,
        3_000,
        3_000,
        [],
    )
    assert sum(1 for _ in target.addresses()) == 3_000
    assert capacity.taken == 3_000
    assert capacity.offered <= 2 * 3_000, "it went on asking for more than the table takes"
    assert clock.now <= 3_000 / 1000 * 2, "it asked for far less than the table takes"
    assert target.pace.waits.throttled > 0
    assert target.pace.waits.waited_s > 0


def test_a_ceiling_in_write_units_counts_each_item_by_its_size(table: Any, clock: Clock) -> None:
    target = table(timing=by(clock), max_write_units=100)
    # Control characters grow sixfold in JSON: by its length this item of 1.5 KB would be nine units.
    sizes = [(300, 1), (1_000, 1), (1_500, 2), (5_000, 5)]
    target.write(
        [
            item({"_id": f"{size}-{number}", "text": ("\x01" if size == 1_500 else "t") * size})
            for size, _ in sizes
            for number in range(100)
        ]
    )
    assert clock.now == pytest.approx(100 * sum(units for _, units in sizes) / 100, abs=1.5)
    assert sum(1 for _ in target.addresses()) == 400


def test_records_of_one_partition_key_after_another_are_written_far_apart(table: Any, clock: Clock) -> None:
    """Each simulated partition takes a third of all; customer after customer would wait for one at a time (R51)."""
    partitions = 6
    target = table(Key("customer", "number"), by(clock))
    capacities = [Capacity(clock, 200) for _ in range(partitions)]

    def partition(put: Any) -> int:
        return zlib.crc32(put["customer"]["S"].encode()) % partitions

    def takes(puts: list[Any]) -> list[bool]:
        clock.wait(0.005)
        return [capacities[partition(put)].take(1) for put in puts]

    requests = throttling(target, takes)
    records = [
        item({"customer": f"c{number // 50}", "number": str(number)}, Key("customer", "number"))
        for number in range(3_000)
    ]
    for at in range(0, 3_000, 1_000):
        assert not target.write(records[at : at + 1_000])
    assert sum(1 for _ in target.addresses()) == 3_000
    firsts = [puts for puts in requests if len(puts) == 25]
    hottest = max(max(Counter(map(partition, puts)).values()) / 25 for puts in firsts)
    assert hottest <= 0.6, "a request goes to one partition"
    assert clock.now < 0.6 * 3_000 / 200, "the partitions were written to one after another"


def test_a_stop_ends_the_wait_for_a_ceiling(table: Any) -> None:
    target = table(max_rate=0.01)
    target.write([item({"_id": "1"})])
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(target.write, [item({"_id": "2"})])
        try:
            PROCESS_STOP.set()
            with pytest.raises(TransientError) as stopped:
                waiting.result(20)
        finally:
            PROCESS_STOP.clear()
    assert stopped.value.code == "E-STOPPED"
    assert list(target.read(['{"_id":{"S":"1"}}', '{"_id":{"S":"2"}}'])) == ['{"_id":{"S":"1"}}']


# Elasticsearch


UUID = {"things": {"settings": {"index": {"uuid": "one"}}}}


class Bulk:
    """A server that speaks enough of Elasticsearch to be written to, and pushes back beyond its capacity."""

    def __init__(self, capacity: Capacity) -> None:
        self.held: dict[str, Any] = {}
        self.requests = self.whole = self.partly = 0
        self.capacity = capacity

    def reply(self, request: Request) -> Reply:
        status, content = (200, UUID) if request.method == "GET" else self.written(request.body.splitlines())
        return Reply(status, json.dumps(content).encode(), {"X-Elastic-Product": "Elasticsearch"})

    def written(self, lines: Sequence[bytes]) -> tuple[int, Any]:
        actions = list(zip(lines[::2], lines[1::2], strict=True))
        taken = self.capacity.some([1] * len(actions))
        self.requests += 1
        if not any(taken) or 10 <= self.requests < 13:
            self.capacity.taken -= sum(taken)
            self.whole += 1
            return 429, {"error": {"type": "es_rejected_execution_exception", "reason": ""}}
        self.partly += not all(taken)
        outcomes = [
            self.outcome(json.loads(action)["index"]["_id"], source, got)
            for (action, source), got in zip(actions, taken, strict=True)
        ]
        return 200, {"errors": not all(taken), "items": outcomes}

    def outcome(self, name: str, source: bytes, got: bool) -> Any:
        if got:
            self.held[name] = json.loads(source)
            return {"index": {"_id": name, "_index": "things", "status": 201, "_shards": {"failed": 0}}}
        error = {"type": "es_rejected_execution_exception", "reason": ""}
        return {"index": {"_id": name, "_index": "things", "status": 429, "error": error}}


def test_a_cluster_that_pushes_back_is_written_near_its_capacity_and_holds_everything(clock: Clock) -> None:
    capacity = Capacity(clock, 1_000)
    bulk = Bulk(capacity)
    placement = ElasticsearchTarget.Placement(index="things")
    with serving(bulk.reply) as url:
        target = ElasticsearchTarget(ElasticsearchTarget.Connection(url), placement, "things", timing=by(clock))
        with closing(target):
            for at in range(60):
                assert target.write([index_document({"n": n}, f"{at}-{n}") for n in range(100)]) == []
    assert len(bulk.held) == 6_000
    assert bulk.whole, "no request was pushed back as a whole"
    assert capacity.offered <= 2 * 6_000
    assert clock.now <= 6_000 / 1_000 * 2
    assert bulk.partly
    assert target.pace.waits.throttled == bulk.whole + bulk.partly


# Redis


def test_a_server_without_memory_is_asked_for_less_until_it_has_some(
    redis_server: Callable[..., str], unique: str
) -> None:
    url = redis_server()
    target = RedisTarget(RedisTarget.Connection(url), RedisTarget.Placement(), unique)
    records = [String(f"{unique}:{n}", b"v" * 1000) for n in range(2_000)]
    with redis.Redis.from_url(url) as server, ThreadPoolExecutor(1) as thread:
        server.config_set("maxmemory", 1)
        writing = thread.submit(target.write, records)
        until(lambda: target.pace.pacer.rate is not None, "cut of the rate")
        server.config_set("maxmemory", 0)
        assert writing.result(60) == []
        assert server.dbsize() == 2_000
    assert target.pace.waits.throttled > 0
    target.close()


def test_reading_back_a_redis_is_not_paced(redis_url: str, unique: str) -> None:
    clock = Clock()
    connection = RedisTarget.Connection(redis_url, max_rate=1)
    target = RedisTarget(connection, RedisTarget.Placement(), unique, timing=by(clock))
    target.write([String(f"{unique}:{n}", b"v") for n in range(10)])
    target.write([String(f"{unique}:10", b"v")])
    assert clock.now == pytest.approx(10, abs=1.5)
    before = clock.now
    assert len(target.read([f"{unique}:{n}" for n in range(11)])) == 11
    assert clock.now == before
    target.close()


# A place that takes nothing


def busy(request: Request) -> Reply:
    error = {"error": {"type": "es_rejected_execution_exception", "reason": ""}}
    status, content = (200, UUID) if request.method == "GET" else (429, error)
    return Reply(status, json.dumps(content).encode(), {"X-Elastic-Product": "Elasticsearch"})


def slow_down(pacer: Pacer, clock: Clock) -> None:
    """The place has refused so much that a request waits for seconds."""
    while pacer.rate is None or pacer.rate > 20:
        turn = pacer.ask(100)
        clock.wait(1)
        pacer.record_result(turn, 100)


def test_a_cluster_that_refuses_everything_is_given_up_at_the_deadline(clock: Clock) -> None:
    placement = ElasticsearchTarget.Placement(index="things")
    with serving(busy) as url:
        connection = ElasticsearchTarget.Connection(url, retry_deadline_s=6)
        target = ElasticsearchTarget(connection, placement, "things", timing=by(clock))
        with closing(target):
            slow_down(target.pace.pacer, clock)
            began = clock.now
            with pytest.raises(TransientError):
                target.write([index_document({"n": n}, f"{n}") for n in range(500)])
    assert clock.now - began <= 6 * 1.5


def test_a_server_that_stays_without_memory_is_given_up_at_the_deadline(
    redis_server: Callable[..., str], unique: str, clock: Clock
) -> None:
    connection = RedisTarget.Connection(redis_server("--maxmemory", "1"), retry_deadline_s=6)
    with closing(RedisTarget(connection, RedisTarget.Placement(), unique, timing=by(clock))) as target:
        slow_down(target.pace.pacer, clock)
        began = clock.now
        with pytest.raises(TransientError, match="out of memory for 6 s"):
            target.write([String(f"{unique}:{n}", b"v" * 1000) for n in range(500)])
    assert clock.now - began <= 6 * 1.5


def test_a_table_that_refuses_everything_is_given_up_at_the_deadline(table: Any, clock: Clock) -> None:
    target = table(timing=by(clock), retry_deadline_s=6)
    throttling(target, lambda puts: [False] * len(puts))
    slow_down(target.pace.pacer, clock)
    began = clock.now
    with pytest.raises(TransientError):
        target.write([item({"_id": f"{n}"}) for n in range(25)])
    assert clock.now - began <= 6 * 1.5


def test_a_request_that_waits_for_the_turns_of_others_has_its_deadline_all_the_same(clock: Clock) -> None:
    pacer = Pacer("there", ceilings((), "UTC"), timing=by(clock))
    first = pacer.ask(100)
    clock.wait(1)
    pacer.record_result(first, 50)
    assert pacer.rate is not None
    pacer.ask(10_000)  # Nothing gets through after it.
    turn = pacer.ask(1, patience_s=2)
    assert turn.in_vain_s == pytest.approx(2, abs=1)
    assert turn.excused_s == pytest.approx(0, abs=0.1)
    other = pacer.ask(10_000)
    pacer.record_result(other)
    later = pacer.ask(1)
    assert later.excused_s == pytest.approx(0, abs=1.1)


def test_the_wait_for_a_ceiling_says_nothing_against_the_place(clock: Clock) -> None:
    pacer = Pacer("there", ceilings((), "UTC", max_rate=10), timing=by(clock))
    pacer.ask(1_000)
    turn = pacer.ask(1, patience_s=2)
    assert turn.excused_s == pytest.approx(100, abs=1)
    assert turn.in_vain_s == 0


# The source


def test_the_source_is_read_no_faster_than_its_ceiling_in_batches_of_a_second(
    mongodb_url: str, database: Database[dict[str, Any]]
) -> None:
    database.things.insert_many([{"_id": n} for n in range(1_050)])
    clock = Clock()
    opened = MongoDB(Connection(mongodb_url, database.name, max_read_rate=100))
    pacer = Pacer("the source", ceilings((), "UTC", max_rate=100), timing=by(clock))

    def read(**where: Any) -> list[int]:
        source = opened.source("things", where)
        source.pace = Pace(pacer)
        return [len(batch.documents) for batch in source.read(Partition(0))]

    batches = read()
    assert sum(batches) == 1_050
    assert max(batches) <= 101
    assert 9 <= clock.now <= 12
    began = clock.now
    for number in range(40):
        assert read(_id=number) == [1]
    assert clock.now - began <= 2, "a request counts as more than what it gave"
    opened.close()


# A whole run


@dataclass(frozen=True)
class Ordered(Threads):
    """Threads that note the order of their jobs."""

    order: list[int] = field(default_factory=list)

    def run(self, jobs: Sequence[Job[Any]], more: More[Any] | None = None, /) -> Sequence[Any]:
        self.order.extend(job.number for job in jobs if isinstance(job, CopyJob))
        return super().run(jobs, more)


@pytest.fixture
def undivided() -> Iterator[None]:
    yield
    pacing.divide(1)


def test_a_run_tells_how_it_was_held_back(
    tmp_path: Path,
    mongodb_url: str,
    redis_url: str,
    database: Database[dict[str, Any]],
    unique: str,
    caplog: Any,
    undivided: None,
) -> None:
    database.things.insert_many([{"_id": n} for n in range(400)])
    plan = {
        "source": {"uri": mongodb_url, "database": database.name, "max_read_rate": 400},
        "state": f"sqlite:///{tmp_path / 'state.db'}",
        "run": {"workers": 2, "runner": "processes"},
        "targets": {"redis": {"url": redis_url, "max_rate": 8_000}},
        "routes": {"things": {"use_case": "session", "key": f"{unique}:{{_id}}", "partitions": 3}},
    }
    path = tmp_path / "plan.yaml"
    path.write_text(yaml.safe_dump(plan), encoding="utf-8")
    loaded = load(path)
    caplog.set_level("INFO", "flows")
    workers = Ordered(loaded)
    report: Report = backfill(Run(loaded, loaded.chosen([]), workers), "full")
    assert workers.order == [0, 2, 1], "partitions side by side are next to each other"
    assert report.verdict == "clean", as_text(report)
    pace = report.as_json()["routes"][0]["pace"]
    assert pace["throttled"] == 0
    # Each of two processes keeps to half of 400 read a second; the first batches go at once.
    assert pace["source_waited_s"] > 0
    assert pace["rate"] is None
    waited = slowed_down(report.routes[0])
    assert waited.startswith("its partitions waited ")
    assert waited.endswith(f"{seconds(pace['source_waited_s'])} to read")
    assert f"things: {waited}" in as_text(report)
    assert any("for the source" in record.getMessage() for record in caplog.records)
    again = verify(Run(loaded, loaded.chosen([]), Threads(loaded)), "full")
    assert again.as_json()["routes"][0]["pace"] is None
    # A changed ceiling is no other plan: the run goes on.
    plan["targets"]["redis"]["max_rate"] = 10_000  # type: ignore[index]
    path.write_text(yaml.safe_dump(plan), encoding="utf-8")
    changed = load(path)
    assert backfill(Run(changed, changed.chosen([]), Threads(changed)), "full").verdict == "clean"
