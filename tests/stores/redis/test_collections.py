"""Streams, shared sets and geo sets on a real Valkey: the laws of a target, order, replays, and what is refused."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis import Redis
from waiting import until

from mappers.contract import Losses, Record
from mappers.redis.geo import LATITUDE, GeoMapper, cell
from mappers.redis.records import Entry, Hash, List, Member, Set, SetMember, String
from stores.contract.target import Listable
from stores.errors import PermanentError, PlanError, TransientError
from stores.redis.streams import Turns
from stores.redis.target import RedisTarget
from stores.testing.laws import TargetLaws

LATER = 4_102_444_800_123


def opened(url: str, route: str, deadline_s: float = 20, **placement: Any) -> RedisTarget:
    return RedisTarget(
        RedisTarget.Connection(url, retry_deadline_s=deadline_s), RedisTarget.Placement(**placement), route
    )


@pytest.fixture
def client(redis_url: str) -> Iterator[Redis]:
    with Redis.from_url(redis_url) as connected:
        yield connected


@pytest.fixture
def stream(redis_url: str, unique: str) -> Iterator[RedisTarget]:
    target = opened(redis_url, unique, entry="_id")
    yield target
    target.close()


def entry(key: str, number: int, text: str = "v") -> Entry:
    return Entry(key, f"{number}-{number % 3}", ((b"f", text.encode()), (b"f", b"")))


def there(client: Redis, key: str) -> list[tuple[str, str]]:
    """The entries of a stream: ids and first values, as the server's own client tells them, repeated names or not."""
    found = cast(list[tuple[bytes, dict[bytes, bytes]]], client.xrange(key))
    raw = client.execute_command("EVAL", "return redis.call('XRANGE', KEYS[1], '-', '+')", 1, key)
    assert [one for one, _ in found] == [one for one, _ in raw]
    return [(one.decode(), texts[1].decode()) for one, texts in raw]


class TestStreams(TargetLaws):
    @pytest.fixture
    def target(self, redis_url: str, unique: str) -> Iterator[RedisTarget]:
        target = opened(redis_url, unique, key=f"{unique}:{{user}}", entry="_id")
        yield target
        target.close()

    @pytest.fixture
    def another(self, redis_url: str, unique: str) -> Iterator[RedisTarget]:
        target = opened(redis_url, unique, key=f"{unique}:{{user}}", entry="_id")
        yield target
        target.close()

    @pytest.fixture
    def records(self, unique: str) -> list[Entry]:
        return [
            Entry(f"{unique}:a", "2-1", ((b"a", b"1"), (b"b", b""))),
            Entry(f"{unique}:a", "1-18446744073709551615", ((b"", b"\xff"),)),
            Entry(f"{unique}:é", "18446744073709551615-18446744073709551615", ((b"a", b"1"), (b"a", b"1"))),
            Entry(f"{unique}:é", "0-1", ((b"a", b"1"),)),
        ]

    @pytest.fixture
    def changed(self, unique: str) -> list[Entry]:
        return [
            Entry(f"{unique}:a", "2-1", ((b"b", b""), (b"a", b"1"))),
            Entry(f"{unique}:a", "1-18446744073709551615", ((b"", b"\xfe"),)),
            Entry(f"{unique}:é", "18446744073709551615-18446744073709551615", ((b"a", b"1"),)),
            Entry(f"{unique}:é", "0-1", ((b"a", b"1"), (b"c", b"x" * 1000))),
        ]

    @pytest.fixture
    def many(self, unique: str) -> Callable[[int], list[Entry]]:
        # Neither in order nor in one stream.
        return lambda n: [entry(f"{unique}:{'ab'[k % 2]}", 10 + (k * 7919) % 10_007, str(k)) for k in range(n)]

    @pytest.fixture
    def peek(self, client: Redis) -> Callable[[str], Record | None]:
        def look(address: str) -> Record | None:
            key, one = json.loads(address)
            # The client's own reading makes a dict of the fields, which may repeat: a script tells them as they are.
            found = client.execute_command(
                "EVAL", "return redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1])", 1, key, one
            )
            return Entry(key, one, tuple(zip(found[0][1][::2], found[0][1][1::2], strict=True))) if found else None

        return look

    @pytest.fixture
    def count(self, client: Redis, unique: str) -> Callable[[], int]:
        return lambda: sum(int(client.xlen(key)) for key in client.scan_iter(f"{unique}:*"))


class TestSharedSets(TargetLaws):
    """A set's member has nothing but its address, so members of a sorted set stand beside for what can change."""

    @pytest.fixture
    def target(self, redis_url: str, unique: str) -> Iterator[RedisTarget]:
        target = opened(redis_url, unique, key=f"{unique}:{{tag}}", member="_id")
        yield target
        target.close()

    @pytest.fixture
    def another(self, redis_url: str, unique: str) -> Iterator[RedisTarget]:
        target = opened(redis_url, unique, key=f"{unique}:{{tag}}", member="_id")
        yield target
        target.close()

    @pytest.fixture
    def records(self, unique: str) -> list[Member]:
        return [Member(f"{unique}:z", name, 1.0) for name in ("a", "b", "c")]

    @pytest.fixture
    def changed(self, unique: str) -> list[Member]:
        return [Member(f"{unique}:z", name, 2.0) for name in ("a", "b", "c")]

    @pytest.fixture
    def many(self, unique: str) -> Callable[[int], list[SetMember]]:
        return lambda n: [SetMember(f"{unique}:é{k % 3}", f'm"é{k}') for k in range(n)]

    @pytest.fixture
    def peek(self, client: Redis) -> Callable[[str], Record | None]:
        def look(address: str) -> Record | None:
            key, member = json.loads(address)
            if client.type(key) == b"zset":
                score = client.zscore(key, member)
                return None if score is None else Member(key, member, score)
            return SetMember(key, member) if client.sismember(key, member) else None

        return look

    @pytest.fixture
    def count(self, client: Redis, unique: str) -> Callable[[], int]:
        def held() -> int:
            sizes: dict[Any, Callable[[Any], Any]] = {b"set": client.scard, b"zset": client.zcard}
            return sum(sizes[client.type(key)](key) for key in client.scan_iter(f"{unique}:*"))

        return held


# Streams (R68)


def test_entries_that_come_out_of_order_stand_in_order(stream: RedisTarget, client: Redis, unique: str) -> None:
    numbers = [50, 10, 30, 20, 60, 5]
    for number in numbers:
        assert stream.write([entry(unique, number)]) == []
    assert there(client, unique) == [(entry(unique, number).id, "v") for number in sorted(numbers)]
    assert client.xinfo_stream(unique)["last-generated-id"] == b"60-0"


def test_a_replayed_entry_counts_as_written_only_if_it_is_the_same(
    stream: RedisTarget, client: Redis, unique: str
) -> None:
    entries = [entry(unique, number) for number in range(1, 6)]
    assert stream.write(entries) == []
    before = client.xinfo_stream(unique)["entries-added"]
    assert stream.write(entries) == []
    assert client.xinfo_stream(unique)["entries-added"] == before  # Nothing was moved.
    assert stream.write([entry(unique, 2, "new")]) == []
    assert there(client, unique) == [(e.id, "new" if e.id == "2-2" else "v") for e in entries]


def test_entries_of_others_stay_where_they_are(stream: RedisTarget, client: Redis, unique: str) -> None:
    client.xadd(unique, {"theirs": "x"}, "15-7")
    stream.write([entry(unique, 20), entry(unique, 10), entry(unique, 15)])
    assert [one for one, _ in there(client, unique)] == ["10-1", "15-0", "15-7", "20-2"]
    assert isinstance(stream, Listable)
    assert json.dumps([unique, "15-7"], separators=(",", ":")) in set(stream.addresses())


def test_a_stream_with_consumers_is_not_made_anew(stream: RedisTarget, client: Redis, unique: str) -> None:
    stream.write([entry(unique, 10), entry(unique, 20)])
    client.xgroup_create(unique, "group", id="0")
    stream.write([entry(unique, 20), entry(unique, 30)])
    with pytest.raises(PermanentError) as refused:
        stream.write([entry(unique, 15)])
    assert refused.value.code == "E-RDS-ORDER"
    assert "consumer groups" in refused.value.message
    assert [one for one, _ in there(client, unique)] == ["10-1", "20-2", "30-0"]
    client.xgroup_destroy(unique, "group")
    stream.write([entry(unique, 15)])
    assert [one for one, _ in there(client, unique)] == ["10-1", "15-0", "20-2", "30-0"]


def test_writes_that_wait_for_one_that_fails_fail_with_it() -> None:
    turns, inside = Turns(), threading.Event()
    failing = threading.Event()

    def first() -> None:
        with turns.turn():
            inside.set()
            assert failing.wait(20)
            raise KeyError

    def second() -> None:
        with turns.turn():
            raise AssertionError("it wrote behind a gap")

    with ThreadPoolExecutor(2) as threads:
        one = threads.submit(first)
        assert inside.wait(20)
        other = threads.submit(second)
        until(lambda: turns.waiting == 1, "second write")
        failing.set()
        assert isinstance(one.exception(), KeyError)
        assert isinstance(other.exception(), TransientError)
    with turns.turn():
        assert turns.waiting == 0


def test_a_stream_emptied_takes_its_entries_again(stream: RedisTarget, client: Redis, unique: str) -> None:
    entries = [entry(unique, number) for number in (1, 2, 3)]
    stream.write(entries)
    stream.delete([one.address for one in entries])
    assert client.xlen(unique) == 0
    stream.write(entries[::2])
    assert [one for one, _ in there(client, unique)] == ["1-1", "3-0"]


def test_threads_that_write_out_of_order_lose_nothing(stream: RedisTarget, client: Redis, unique: str) -> None:
    batches = [[entry(unique, 1 + (batch * 37 + k) % 400) for k in range(20)] for batch in range(40)]
    start = threading.Barrier(8)

    def work(share: Sequence[list[Entry]]) -> None:
        start.wait()
        for batch in share:
            assert stream.write(batch) == []

    with ThreadPoolExecutor(8) as threads:
        for done in [threads.submit(work, batches[number::8]) for number in range(8)]:
            done.result()
    expected = {one.id for batch in batches for one in batch}
    assert [one for one, _ in there(client, unique)] == sorted(expected, key=lambda i: int(i.partition("-")[0]))


@settings(max_examples=40)
@given(st.lists(st.lists(st.tuples(st.integers(1, 12), st.sampled_from("ab")), max_size=5), max_size=6))
def test_whatever_is_written_in_whatever_order_the_last_stands(
    redis_url: str, writes: list[list[tuple[int, str]]]
) -> None:
    with Redis.from_url(redis_url) as client:
        client.delete("anystream")
        target = opened(redis_url, "anystream", entry="_id")
        expected: dict[int, str] = {}
        for write in writes:
            assert target.write([entry("anystream", number, text) for number, text in write]) == []
            expected |= dict(write)
        assert there(client, "anystream") == [(entry("", n).id, expected[n]) for n in sorted(expected)]
        target.close()


def test_an_entry_goes_not_with_a_stream_that_was_to_expire(stream: RedisTarget, client: Redis, unique: str) -> None:
    one = entry(unique, 1)
    for _ in range(2):  # Appended, then found there.
        stream.write([one])
        assert client.ttl(unique) == -1
        client.expire(unique, 1000)
        assert stream.read([one.address])[one.address].canonical() != one.canonical()


def test_a_late_entry_that_finds_no_memory_is_waited_for_and_leaves_the_stream_whole(
    redis_server: Callable[..., str], unique: str
) -> None:
    url = redis_server("--maxmemory", "0")
    target = opened(url, unique, deadline_s=0.5, entry="_id")
    target.write([entry(unique, 2), entry(unique, 3)])
    with Redis.from_url(url) as client:
        client.config_set("maxmemory", 1)
        with pytest.raises(TransientError) as full:
            target.write([entry(unique, 1)])
        assert full.value.code == "E-RDS-OOM"
        client.config_set("maxmemory", 0)
        assert [one for one, _ in there(client, unique)] == ["2-2", "3-0"]
        target.write([entry(unique, 1)])
        assert [one for one, _ in there(client, unique)] == ["1-1", "2-2", "3-0"]
    target.close()


def test_a_shared_key_that_was_to_expire_stays_once_something_joins_it(
    redis_url: str, client: Redis, unique: str
) -> None:
    target = opened(redis_url, unique)
    client.xadd(f"{unique}:s", {"a": "1"}, "1-0")
    client.sadd(f"{unique}:m", "theirs")
    for key in (f"{unique}:s", f"{unique}:m"):
        client.expire(key, 1000)
    assert target.write([entry(f"{unique}:s", 2), SetMember(f"{unique}:m", "m")]) == []
    assert (client.ttl(f"{unique}:s"), client.ttl(f"{unique}:m")) == (-1, -1)
    target.close()


# What a record must not be


def test_what_no_shape_can_hold_is_rejected_and_the_rest_written(redis_url: str, client: Redis, unique: str) -> None:
    target = opened(redis_url, unique)
    client.rpush(f"{unique}:0", "kept")
    records: list[Any] = [
        *(List(f"{unique}:0", ()), Set(f"{unique}:1", ()), Set(f"{unique}:2", (b"a", b"a"))),
        *(Entry(unique, "0-0", ((b"a", b"1"),)), Entry(unique, "1", ((b"a", b"1"),)), Entry(unique, "1-1", ())),
        *(Entry(unique, f"{2**64}-0", ((b"a", b"1"),)), Entry(unique, "01-1", ((b"a", b"1"),))),
        *(SetMember(unique, "\udc80"), List(f"{unique}:9", (b"a",))),
    ]
    assert [(one.index, one.code) for one in target.write(records)] == [
        *((0, "E-RDS-EMPTY"), (1, "E-RDS-EMPTY"), (2, "E-RDS-MEMBERS"), (3, "E-RDS-ENTRY"), (4, "E-RDS-ENTRY")),
        *((5, "E-RDS-EMPTY"), (6, "E-RDS-ENTRY"), (7, "E-RDS-ENTRY"), (8, "E-RDS-KEY")),
    ]
    assert set(client.keys(f"{unique}*")) == {f"{unique}:0".encode(), f"{unique}:9".encode()}
    expiring = opened(redis_url, unique, ttl_s=9)
    assert [one.code for one in expiring.write([SetMember(unique, "m"), entry(unique, 1)])] == ["E-RDS-EXPIRY"] * 2
    for one in (target, expiring):
        one.close()


def test_members_under_a_key_of_another_type_are_rejected_and_absent(
    redis_url: str, client: Redis, unique: str
) -> None:
    target = opened(redis_url, unique)
    client.set(unique, "theirs")
    records: list[Any] = [
        SetMember(unique, "m"),
        entry(unique, 1),
        Member(unique, "m", 1.0),
        String(f"{unique}:1", b""),
    ]
    rejected = target.write(records)
    assert [(one.index, one.code) for one in rejected] == [(n, "E-RDS-TYPE") for n in range(3)]
    assert [one.reason.rpartition("not a ")[2] for one in rejected] == ["set", "stream", "sorted set"]
    assert set(target.read([one.address for one in records])) == {f"{unique}:1"}
    target.delete([one.address for one in records])
    assert client.get(unique) == b"theirs"
    client.delete(unique)
    # An address that only a member of a set can have is none of a stream's, and is absent there.
    client.xadd(unique, {"a": "1"}, "1-0")
    assert target.read([records[0].address]) == {}
    target.delete([records[0].address])
    assert client.xlen(unique) == 1
    target.close()


def test_a_large_set_and_list_are_replaced_whole(redis_url: str, client: Redis, unique: str) -> None:
    target = opened(redis_url, unique)
    texts = tuple(b"%d" % n for n in range(12_001))
    records: list[Any] = [Set(f"{unique}:s", texts, LATER), List(f"{unique}:l", texts + texts)]
    others: list[Any] = [Set(f"{unique}:s", (b"x",)), List(f"{unique}:l", (b"x", b"x"), LATER)]
    for contents in (records, others):
        assert target.write(contents) == []
        held = target.read([one.address for one in contents])
        assert {at: one.canonical() for at, one in held.items()} == {one.address: one.canonical() for one in contents}
    assert (client.scard(f"{unique}:s"), client.llen(f"{unique}:l")) == (1, 2)
    target.close()


def test_an_element_that_changed_moved_or_came_twice_is_a_difference(
    redis_url: str, client: Redis, unique: str
) -> None:
    target = opened(redis_url, unique)
    key, record = f"{unique}:l", List(f"{unique}:l", (b"a", b"b"))
    for change in (("LSET", key, 0, "x"), ("RPUSH", key, "b"), ("LPUSH", key, "a"), ("RPOPLPUSH", key, key)):
        target.write([record])
        assert target.read([key])[key].canonical() == record.canonical()
        client.execute_command(*change)
        assert target.read([key])[key].canonical() != record.canonical()
    target.close()


@pytest.mark.parametrize(
    ("placement", "right"), [({"entry": "_id"}, "stream"), ({"member": "_id"}, "set"), ({"location": "at"}, "zset")]
)
def test_a_shared_key_that_holds_another_type_is_refused(
    redis_url: str, client: Redis, unique: str, placement: dict[str, Any], right: str
) -> None:
    put: dict[str, Callable[[], Any]] = {
        "stream": lambda: client.xadd(unique, {"a": "1"}),
        "set": lambda: client.sadd(unique, "a"),
        "zset": lambda: client.zadd(unique, {"a": 1}),
        "string": lambda: client.set(unique, "a"),
    }
    target = opened(redis_url, unique, **placement)
    for kind, make in put.items():
        client.delete(unique)
        make()
        if kind == right:
            target.check()
        else:
            with pytest.raises(PlanError) as refused:
                target.check()
            assert refused.value.code == "E-RDS-TYPE"
    target.close()


def test_a_set_is_listed_by_member_only_where_it_is_shared(redis_url: str, client: Redis, unique: str) -> None:
    client.sadd(f"{unique}:s", "a", "b")
    whole = opened(redis_url, unique)
    shared = opened(redis_url, unique, key=f"{unique}:{{tag}}", member="_id")
    assert set(whole.addresses()) == {f"{unique}:s"}
    assert set(shared.addresses()) == {SetMember(f"{unique}:s", name).address for name in "ab"}
    for one in (whole, shared):
        one.close()


def test_a_user_who_may_not_read_streams_stops_instead_of_rejecting(
    redis_server: Callable[..., str], unique: str
) -> None:
    url = redis_server()
    with Redis.from_url(url) as client:
        client.execute_command("ACL", "SETUSER", "default", "-xrange")
    target = opened(url, unique, entry="_id")
    target.write([entry(unique, 2)])
    with pytest.raises(PermanentError) as refused:
        target.write([entry(unique, 1)])
    assert refused.value.code == "E-RDS-AUTH"
    target.close()


# Places (R27)


@settings(max_examples=200)
@given(
    st.floats(-180, 180) | st.sampled_from((-180.0, 180.0, 0.0, -0.0)),
    st.floats(-LATITUDE, LATITUDE) | st.sampled_from((-LATITUDE, LATITUDE, 0.0)),
)
def test_the_cell_of_a_place_is_the_servers_own(redis_url: str, longitude: float, latitude: float) -> None:
    with Redis.from_url(redis_url) as client:
        client.geoadd("cells", [longitude, latitude, "m"])
        assert client.zscore("cells", "m") == float(cell(longitude, latitude))


def test_places_are_found_by_the_servers_own_search(redis_url: str, client: Redis, unique: str) -> None:
    target = opened(redis_url, unique, location="at")
    mapper = GeoMapper(GeoMapper.Options(location="at", member="name"), unique, Losses())
    documents = [{"name": "Palermo", "at": [13.361389, 38.115556]}, {"name": "Catania", "at": [15.087269, 37.502669]}]
    records = [record for document in documents for record in mapper({"_id": document["name"], **document})]
    assert target.write(records) == []
    assert client.geosearch(unique, longitude=15, latitude=37, radius=100, unit="km") == [b"Catania"]
    assert cast(float, client.geodist(unique, "Palermo", "Catania", "km")) == pytest.approx(166.2742, abs=1e-4)
    client.geoadd(unique, [13.361389, 38.11557, "Palermo"])  # 1.6 m away
    held = target.read([one.address for one in records])
    assert [held[one.address].canonical() == one.canonical() for one in records] == [False, True]
    target.close()


def test_keys_of_one_hash_tag_share_a_slot(client: Redis, redis_url: str, unique: str) -> None:
    """Redis cuts the tag out of a key itself: what is between the first { and the next } (R61)."""
    from redis.crc import key_slot

    from mappers.values.key_templates import Template

    templates = [Template.parse(f"{unique}:{{{{_id}}}}:{part}") for part in ("cart", "items")]
    slots = []
    for number in range(300):
        cart, items = (key_slot(template.fill({"_id": f"{{{number}}}"}).encode()) for template in templates)
        assert cart == items
        slots.append(cart)
    assert len(set(slots)) > 280
    whole = Hash(templates[0].fill({"_id": 1}), ((b"a", b"1"),))
    target = opened(redis_url, unique, key=f"{unique}:{{{{_id}}}}:cart")
    assert target.write([whole]) == []
    assert list(target.addresses()) == [whole.key] == [f"{unique}:{{n:1}}:cart"]
    target.close()
