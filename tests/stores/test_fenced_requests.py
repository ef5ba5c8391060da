"""Every request of a target that changes something looks at the fence, and none is sent once the fence is closed."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from typing import Any

import boto3
import pytest
from redis import Redis
from relay import Relay, Seen, relaying

from mappers.contract import Record
from mappers.dynamodb.records import Key, item
from mappers.elasticsearch.records import index_document
from mappers.redis.records import Entry, Hash, String
from stores.contract.stop import NEVER
from stores.contract.target import Fenced, Measurable, Publishable, Removable, Target, Tunable, staging_of
from stores.dynamodb.target import DynamoDBTarget
from stores.elasticsearch.target import ElasticsearchTarget
from stores.errors import LeaseLost
from stores.redis.target import RedisTarget
from stores.throttling.backoff import Timing

UNLIMITED = 1_000


@dataclass
class Allowance:
    """A fence that lets so many requests pass."""

    requests: int
    asked: int = 0

    def ensure(self) -> None:
        self.asked += 1
        if self.asked > self.requests:
            raise LeaseLost("E-LEASE-LOST", "taken over")


@dataclass
class Case:
    """A call of a target that changes something, and what is done before it."""

    target: Callable[[str, Any, str], Target[Any]]
    """Makes the target, given the URL of its server, the placement and a name that nothing else has."""
    call: Callable[[Any], object]
    before: Callable[[Any], object] = lambda target: None
    placement: dict[str, Any] = field(default_factory=dict)
    requests: int = 1
    """The changing requests that the call makes."""


class Brief:
    """Ends each wait after a tenth of a second: an import is asked about often, as it is over in a second."""

    def is_set(self) -> bool:
        return False

    def wait(self, timeout: float, /) -> None:
        NEVER.wait(min(timeout, 0.1))


def dynamodb(url: str, placement: Any, name: str) -> Target[Any]:
    connection = DynamoDBTarget.Connection(endpoint=url, region="eu-west-1", s3_endpoint=url, retry_deadline_s=20)
    place: dict[str, Any] = {
        key: f"{name}-bucket" if key.endswith("_bucket") else value for key, value in placement.items()
    }
    return DynamoDBTarget(connection, DynamoDBTarget.Placement(table=name, **place), name, timing=Timing(stop=Brief()))


def in_redis(url: str, placement: Any, name: str) -> Target[Any]:
    connection = RedisTarget.Connection(url, retry_deadline_s=20)
    return RedisTarget(connection, RedisTarget.Placement(**{"key": "fenced:{_id}", **placement}), name)


def elasticsearch(url: str, placement: Any, name: str) -> Target[Any]:
    connection = ElasticsearchTarget.Connection(url, retry_deadline_s=20)
    return ElasticsearchTarget(connection, ElasticsearchTarget.Placement(index=name, **placement), name)


def opensearch(url: str, placement: Any, name: str) -> Target[Any]:
    connection = ElasticsearchTarget.Connection(url, retry_deadline_s=20, flavour="opensearch")
    return ElasticsearchTarget(connection, ElasticsearchTarget.Placement(index=name, **placement), name)


def items(count: int) -> list[Record]:
    return [item({"_id": f"n:{number}", "n": number}) for number in range(count)]


def wide(text: str) -> list[Record]:
    return [item({"_id": "n:1", "sort": "s", "text": text}, Key("_id", "sort"), oversize=True)]


def noise(seed: bytes) -> str:
    return base64.b64encode(hashlib.shake_256(seed).digest(500_000)).decode()


def documents(count: int) -> list[Record]:
    return [index_document({"n": number}, str(number)) for number in range(count)]


def addresses(records: list[Record]) -> list[str]:
    return [record.address for record in records]


def prepare(target: Target[Any]) -> None:
    target.prepare()


def prepared_with(records: list[Record]) -> Callable[[Target[Any]], object]:
    def before(target: Target[Any]) -> None:
        target.prepare()
        assert target.write(records) == []

    return before


def staged(records: list[Record]) -> Callable[[Target[Any]], object]:
    def before(target: Target[Any]) -> None:
        target.prepare()
        for number, record in enumerate(records):
            stage(target, [record], number)

    return before


def stage(target: Target[Any], records: list[Record], first: int = 0) -> None:
    staging = staging_of(target)
    assert staging is not None
    assert staging.stage(records, 0, first) == []


def load(target: Target[Any]) -> None:
    staging = staging_of(target)
    assert staging is not None
    staging.load(3, {}, lambda memory: None, lambda loaded: None, NEVER)


def designed(target: ElasticsearchTarget) -> None:
    target.follow(target.design({}))
    target.prepare()


def as_type(kind: type, call: Callable[[Any], object]) -> Callable[[Any], object]:
    def checked(target: Any) -> None:
        assert isinstance(target, kind)
        call(target)

    return checked


SETTINGS = {"expires": "until", "point_in_time_recovery": True}
IMPORTED = {
    "load": "import",
    "import_bucket": "",
    "tags": {"team": "shop"},
    "table_class": "infrequent_access",
    "deletion_protection": True,
    **SETTINGS,
}
SPLIT = {"oversize": "split", "key": Key("_id", "sort")}
TUNED = {"load_replicas": 0, "replicas": 1}
STRINGS: list[Record] = [String(f"fenced:{number}", b"x") for number in range(600)]
ENTRIES: list[Record] = [Entry("fenced:stream", f"{number}-1", ((b"n", b"1"),)) for number in range(2, 5)]
EARLIER: list[Record] = [Entry("fenced:stream", "1-1", ((b"n", b"1"),))]

CASES = {
    "dynamodb prepare": Case(dynamodb, prepare, placement=SETTINGS, requests=3),
    "dynamodb write": Case(dynamodb, lambda target: target.write(items(60)), prepare, requests=3),
    "dynamodb delete": Case(
        dynamodb, lambda target: target.delete(addresses(items(30))), prepared_with(items(30)), requests=2
    ),
    "dynamodb parts": Case(
        # The parts, the item, and then the parts of the item that was there.
        *(dynamodb, lambda target: target.write(wide(noise(b"b"))), prepared_with(wide(noise(b"a"))), SPLIT),
        requests=3,
    ),
    "dynamodb objects": Case(
        *(dynamodb, lambda target: target.write(wide(noise(b"b"))), prepared_with(wide(noise(b"a")))),
        {"oversize": "s3", "oversize_bucket": "", "key": Key("_id", "sort")},
        requests=3,
    ),
    "dynamodb stage": Case(dynamodb, lambda target: stage(target, items(3)), placement=IMPORTED),
    "dynamodb trim": Case(
        dynamodb, lambda target: target.staging.trim(0, 1), staged(items(3)), placement=IMPORTED, requests=1
    ),
    "dynamodb clear": Case(dynamodb, lambda target: target.staging.clear(), staged(items(3)), IMPORTED),
    # The import, tags, class, protection, time to live, recovery, and the files of it.
    "dynamodb load": Case(dynamodb, load, staged(items(3)), IMPORTED, requests=7),
    "dynamodb remove": Case(dynamodb, as_type(Removable, lambda target: target.remove()), prepare),
    "redis write": Case(in_redis, lambda target: target.write(STRINGS), requests=2),
    "redis hash": Case(in_redis, lambda target: target.write([Hash("fenced:h", ((b"a", b"b"),))])),
    "redis delete": Case(
        in_redis, lambda target: target.delete(addresses(STRINGS)), prepared_with(STRINGS), requests=2
    ),
    # The entries are too late for their end, so the stream is looked at, with a PERSIST, and made anew.
    "redis stream": Case(
        *(in_redis, lambda target: target.write(EARLIER), prepared_with(ENTRIES)),
        {"entry": "_id", "key": "fenced:stream"},
        requests=3,
    ),
    "redis measure": Case(in_redis, as_type(Measurable, lambda target: target.measure(STRINGS, 1.0, {})), requests=2),
    "elasticsearch prepare": Case(elasticsearch, prepare, placement=TUNED, requests=3),
    "elasticsearch write": Case(elasticsearch, lambda target: target.write(documents(1_500)), prepare, requests=2),
    "elasticsearch delete": Case(
        elasticsearch, lambda target: target.delete(addresses(documents(5))), prepared_with(documents(5))
    ),
    "elasticsearch publish": Case(
        elasticsearch, as_type(Publishable, lambda target: target.publish()), designed, {"versioned": True}
    ),
    "elasticsearch restore": Case(
        elasticsearch, as_type(Tunable, lambda target: target.restore()), prepare, TUNED, requests=2
    ),
    "elasticsearch remove": Case(elasticsearch, as_type(Removable, lambda target: target.remove()), prepare),
    "opensearch prepare": Case(opensearch, prepare, placement=TUNED, requests=3),
    "opensearch write": Case(opensearch, lambda target: target.write(documents(1_500)), prepare, requests=2),
    "opensearch publish": Case(
        opensearch, as_type(Publishable, lambda target: target.publish()), designed, {"versioned": True}
    ),
}


@pytest.fixture(scope="module")
def relays(
    redis_url: str, dynamodb_endpoint: str, elasticsearch_url: str, opensearch_url: str
) -> Iterator[dict[Callable[[str, Any, str], Target[Any]], Relay]]:
    with ExitStack() as running:
        yield {
            dynamodb: running.enter_context(relaying(dynamodb_endpoint)),
            in_redis: running.enter_context(relaying(redis_url, redis=True)),
            elasticsearch: running.enter_context(relaying(elasticsearch_url)),
            opensearch: running.enter_context(relaying(opensearch_url)),
        }


@pytest.mark.parametrize("name", CASES)
def test_each_changing_request_looks_at_the_fence_and_none_follows_a_closed_one(
    name: str, relays: dict[Any, Relay], dynamodb_endpoint: str, redis_url: str, unique: str
) -> None:
    case = CASES[name]
    relay = relays[case.target]

    def attempt(number: int, allowed: int) -> tuple[list[Seen], int]:
        """Return the changing requests that arrived, and how often the fence was asked."""
        place = f"{unique}-{number}"
        if any(key.endswith("_bucket") for key in case.placement):
            s3 = boto3.client("s3", endpoint_url=dynamodb_endpoint, region_name="eu-west-1")
            s3.create_bucket(Bucket=f"{place}-bucket", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
        with Redis.from_url(redis_url) as client:
            client.delete(*addresses(STRINGS), "fenced:h", "fenced:stream")
        with closing(case.target(relay.url, case.placement, place)) as target:
            case.before(target)
            fence = Allowance(allowed)
            assert isinstance(target, Fenced)
            target.set_fence(fence)
            before = len(relay.changes())
            if allowed < case.requests:
                with pytest.raises(LeaseLost):
                    case.call(target)
            else:
                case.call(target)
        # What was measured is removed whatever the fence says: nothing else uses these keys.
        removed = (b"UNLINK\r\n", b"offramp:")
        arrived = [seen for seen in relay.changes()[before:] if not all(text in seen.data for text in removed)]
        return arrived, fence.asked

    arrived, asked = attempt(UNLIMITED, UNLIMITED)
    assert len(arrived) == asked == case.requests, [*map(str, arrived)]
    for allowed in range(case.requests):
        arrived, asked = attempt(allowed, allowed)
        assert len(arrived) == allowed, [*map(str, arrived)]
        assert asked > allowed


def test_each_node_of_a_cluster_is_sent_nothing_once_the_fence_is_closed(redis_cluster: list[str], unique: str) -> None:
    """The nodes name each other, so that no relay sees what they are sent: they are asked what they hold."""
    records: list[Any] = [String(f"{unique}:{number}", b"x") for number in range(60)]
    connection = RedisTarget.Connection(redis_cluster[0], retry_deadline_s=20, cluster=True)
    with ExitStack() as running:
        nodes = [running.enter_context(Redis.from_url(url)) for url in redis_cluster]
        target = running.enter_context(closing(RedisTarget(connection, RedisTarget.Placement(), unique)))

        def held() -> list[int]:
            return [sum(1 for _ in node.scan_iter(f"{unique}:*")) for node in nodes]

        for allowed in range(3):
            target.set_fence(Allowance(allowed))
            with pytest.raises(LeaseLost):
                target.write(records)
            assert sum(count > 0 for count in held()) == allowed
        fence = Allowance(3)
        target.set_fence(fence)
        assert target.write(records) == []
        assert (sum(held()), fence.asked) == (60, 3)
        target.set_fence(Allowance(0))
        with pytest.raises(LeaseLost):
            target.delete(addresses(records))
        assert sum(held()) == 60
