"""RedisTarget against a real Valkey: what is held, replaced, expired, refused, tried again and listed."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from mappers.redis.json_document import Json
from mappers.redis.records import Entry, Hash, List, Member, Set, SetMember, String
from stores.contract.target import Listable
from stores.errors import PermanentError, PlanError, TransientError
from stores.redis.client import code
from stores.redis.commands import Foreign, Held
from stores.redis.target import RedisTarget

LATER = 4_102_444_800_123
"""A millisecond in the year 2100."""
WITHIN_S = 20.0


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as connected:
        yield connected


@pytest.fixture
def make(redis_url: str, unique: str) -> Iterator[Callable[..., RedisTarget]]:
    """Make a target of the test's own route, closed at its end; any option of connection or placement may be given."""
    made: list[RedisTarget] = []

    def target(
        url: str = redis_url, *, deadline_s: float = WITHIN_S, allow_eviction: bool = False, **placement: Any
    ) -> RedisTarget:
        connection = RedisTarget.Connection(url, allow_eviction, deadline_s)
        made.append(RedisTarget(connection, RedisTarget.Placement(**placement), unique))
        return made[-1]

    yield target
    for one in made:
        one.close()


def eventually(condition: Callable[[], bool]) -> None:
    """Wait until the condition holds; fails the test if it does not in time."""
    give_up = time.monotonic() + WITHIN_S
    while not condition():
        assert time.monotonic() < give_up, "the condition did not come true"
        threading.Event().wait(0.01)


def round_trips(target: RedisTarget, records: Sequence[Any]) -> None:
    """Every record is taken and read back as it was."""
    assert target.write(records) == []
    held = target.read([record.address for record in records])
    assert {at: record.canonical() for at, record in held.items()} == {
        record.address: record.canonical() for record in records
    }


@contextmanager
def cutting(url: str, *allowances: int) -> Iterator[tuple[str, list[int]]]:
    """Give the URL of a relay to the server, and what it let pass of replies, by connection.

    The first connection is closed after so many bytes of replies, the second likewise, and so on; later ones live.
    """
    parts = urlsplit(url)
    passed: list[int] = []
    sockets: list[socket.socket] = []

    def relay(source: socket.socket, sink: socket.socket, number: int | None) -> None:
        try:
            while data := source.recv(65536):
                if number is not None:
                    left = allowances[number] - passed[number] if number < len(allowances) else len(data)
                    sink.sendall(data[:left])
                    passed[number] += min(left, len(data))
                    if left < len(data):
                        break
                else:
                    sink.sendall(data)
        except OSError:
            pass  # The other direction was cut.
        for end in (source, sink):
            with suppress(OSError):  # Closed already.
                end.shutdown(socket.SHUT_RDWR)

    def accept(listener: socket.socket) -> None:
        while True:
            try:
                near = listener.accept()[0]
            except OSError:
                return  # The test is over.
            far = socket.create_connection((parts.hostname or "", parts.port or 0))
            sockets.extend((near, far))
            passed.append(0)
            threading.Thread(target=relay, args=(near, far, None), daemon=True).start()
            threading.Thread(target=relay, args=(far, near, len(passed) - 1), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=accept, args=(listener,), daemon=True)
        thread.start()
        try:
            yield f"redis://127.0.0.1:{listener.getsockname()[1]}/0", passed
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            for one in sockets:
                one.close()


# What is held


def test_odd_values_come_back_as_they_were(make: Callable[..., RedisTarget], unique: str) -> None:
    round_trips(
        make(),
        [
            String(f"{unique}:empty", b""),
            String(f"{unique}:binary", bytes(range(256))),
            String(f"{unique}:héllo 漢字 😀\n\0", b"unicode key"),
            String(f"{unique}:", b"the prefix alone"),
            String(f"{unique}:huge", b"x" * 3_000_000),
            String(f"{unique}:later", b"{}", LATER),
            String(f"{unique}:last", b"{}", 2**63 - 1),
            Hash(f"{unique}:hash", ((b"", b""), (b"\xff\0", b"\r\n"), (b"name", "ü".encode())), LATER),
            Hash(f"{unique}:huge field", ((b"n" * 70_000, b"v" * 3_000_000),)),
            Hash(f"{unique}:wide", tuple((b"%d" % n, b"%d" % -n) for n in range(12_001))),
            Member(unique, "", float("-inf")),
            Member(unique, 'q"\\é', 0.1),
            Member(unique, "z", -0.0),
            Member(unique, "tiny", 5e-324),
            Member(unique, "exact", 2.0**53 - 1),
        ],
    )


@settings(max_examples=50)
@given(
    value=st.binary(max_size=200),
    fields=st.dictionaries(st.binary(max_size=20), st.binary(max_size=80), min_size=1, max_size=20),
    score=st.floats(allow_nan=False),
    name=st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    expires=st.none() | st.integers(LATER, 2**63 - 1),
)
def test_any_record_comes_back_as_it_was(
    redis_url: str, value: bytes, fields: dict[bytes, bytes], score: float, name: str, expires: int | None
) -> None:
    target = RedisTarget(RedisTarget.Connection(redis_url), RedisTarget.Placement(), "anything")
    round_trips(
        target,
        [
            String(f"anything:s{name}", value, expires),
            Hash(f"anything:h{name}", tuple(fields.items()), expires),
            Member("anything", name, score),
        ],
    )
    target.close()


def test_more_than_a_pipeline_is_written_read_and_deleted(make: Callable[..., RedisTarget], unique: str) -> None:
    target = make()
    records = [
        String(f"{unique}:{n}", b"v" * 3000) if n % 2 else Hash(f"{unique}:{n}", ((b"n", b"%d" % n),))
        for n in range(1501)
    ]
    round_trips(target, records)
    target.delete([record.address for record in records[1:]])
    assert list(target.addresses()) == [f"{unique}:0"]


def test_what_is_not_there_is_not_in_the_answer(make: Callable[..., RedisTarget], unique: str) -> None:
    target = make()
    absent = [f"{unique}:none", Member(unique, "none", 1.0).address]
    assert target.read(absent) == {}
    target.delete(absent)
    assert target.write([]) == []
    assert target.read([]) == {}


# Replace, never merge (R62)


def test_a_field_that_left_the_source_is_gone_from_the_hash(
    make: Callable[..., RedisTarget], client: redis.Redis, unique: str
) -> None:
    target = make()
    target.write([Hash(f"{unique}:1", ((b"a", b"1"), (b"b", b"2")))])
    target.write([Hash(f"{unique}:1", ((b"a", b"3"),))])
    assert client.hgetall(f"{unique}:1") == {b"a": b"3"}


@pytest.mark.parametrize("before", ["string", "hash", "list", "zset"])
def test_a_record_replaces_a_key_of_any_type(
    make: Callable[..., RedisTarget], client: redis.Redis, unique: str, before: str
) -> None:
    for record in (String(f"{unique}:s", b"v"), Hash(f"{unique}:h", ((b"a", b"1"),))):
        put: dict[str, Callable[[], Any]] = {
            "string": lambda key=record.key: client.set(key, "old"),  # type: ignore[misc]
            "hash": lambda key=record.key: client.hset(key, "old", "1"),  # type: ignore[misc]
            "list": lambda key=record.key: client.rpush(key, "old"),  # type: ignore[misc]
            "zset": lambda key=record.key: client.zadd(key, {"old": 1}),  # type: ignore[misc]
        }
        put[before]()
        round_trips(make(), [record])


def test_the_last_record_of_an_address_wins(make: Callable[..., RedisTarget], client: redis.Redis, unique: str) -> None:
    key = f"{unique}:1"
    first, second = Hash(key, ((b"a", b"1"), (b"b", b"1"))), String(key, b"2")
    make().write([first, second])
    assert client.get(key) == b"2"
    make().write([second, first, Hash(key, ((b"b", b"3"),))])
    assert client.hgetall(key) == {b"b": b"3"}


# Expiry (R65, R66)


@pytest.mark.parametrize("make_record", [lambda k, e: String(k, b"v", e), lambda k, e: Hash(k, ((b"a", b"1"),), e)])
def test_an_expiry_is_set_changed_and_taken_away(
    make: Callable[..., RedisTarget], client: redis.Redis, unique: str, make_record: Callable[[str, int | None], Any]
) -> None:
    key, target = f"{unique}:1", make()
    for expires, expected in ((LATER, LATER), (LATER + 1, LATER + 1), (None, -1)):
        round_trips(target, [make_record(key, expires)])
        assert client.pexpiretime(key) == expected


@pytest.mark.parametrize("expires", [-(2**63), -1, 0, 1, 1_000_000_000_000, "just past"])
@pytest.mark.parametrize("make_record", [lambda k, e: String(k, b"v", e), lambda k, e: Hash(k, ((b"a", b"1"),), e)])
def test_an_expired_record_leaves_nothing_not_even_the_old_value(
    make: Callable[..., RedisTarget],
    client: redis.Redis,
    unique: str,
    make_record: Callable[[str, int], Any],
    expires: int | str,
) -> None:
    seconds, microseconds = client.time()
    at_ms = expires if isinstance(expires, int) else seconds * 1000 + microseconds // 1000 - 1
    key, target = f"{unique}:1", make()
    client.set(key, "old")
    assert target.write([make_record(key, at_ms), String(f"{unique}:2", b"neighbour")]) == []
    assert client.exists(key) == 0
    assert list(target.read([key, f"{unique}:2"])) == [f"{unique}:2"]


def test_ttl_s_counts_from_the_writing_and_is_not_seen_in_what_is_read(
    make: Callable[..., RedisTarget], client: redis.Redis, unique: str
) -> None:
    target = make(ttl_s=1000)
    records = [String(f"{unique}:s", b"v"), Hash(f"{unique}:h", ((b"a", b"1"),))]
    round_trips(target, records)
    for record in records:
        assert 0 < client.pttl(record.key) <= 1_000_000


def test_a_life_other_than_ttl_s_gave_is_a_difference(
    make: Callable[..., RedisTarget], client: redis.Redis, unique: str
) -> None:
    target = make(ttl_s=1000)
    expected = String(f"{unique}:1", b"v")
    target.write([expected])
    client.expire(expected.key, 1100)
    longer = target.read([expected.key])[expected.key]
    assert longer.expires_at_ms == client.pexpiretime(expected.key)
    client.persist(expected.key)
    endless = target.read([expected.key])[expected.key]
    assert expected.canonical() not in (longer.canonical(), endless.canonical())


def test_a_records_own_expiry_comes_before_ttl_s(
    make: Callable[..., RedisTarget], client: redis.Redis, unique: str
) -> None:
    round_trips(make(ttl_s=10), [String(f"{unique}:1", b"v", LATER)])
    assert client.pexpiretime(f"{unique}:1") == LATER


# Sorted sets


def test_a_member_under_a_key_of_another_type_is_rejected_alone(
    make: Callable[..., RedisTarget], client: redis.Redis, unique: str
) -> None:
    target = make(key=f"{unique}:{{shard}}", score="n")
    client.set(f"{unique}:b", "not a sorted set")
    records = [Member(f"{unique}:{'abc'[n % 3]}", f"m{n}", n / 3) for n in range(9)]
    rejected = target.write(records)
    assert [(one.index, one.code) for one in rejected] == [(1, "E-RDS-TYPE"), (4, "E-RDS-TYPE"), (7, "E-RDS-TYPE")]
    others = [record for record in records if not record.key.endswith("b")]
    assert set(target.read([record.address for record in records])) == {record.address for record in others}
    assert client.get(f"{unique}:b") == b"not a sorted set"
    target.delete([record.address for record in records])
    assert client.get(f"{unique}:b") == b"not a sorted set"


def test_members_do_not_go_with_a_set_that_was_to_expire(
    make: Callable[..., RedisTarget], client: redis.Redis, unique: str
) -> None:
    target, record = make(score="n"), Member(unique, "m", 1.5)
    client.zadd(unique, {"old": 1})
    client.expire(unique, 1000)
    round_trips(target, [record])
    assert client.ttl(unique) == -1
    client.expire(unique, 1000)
    assert target.read([record.address])[record.address].canonical() != record.canonical()


# What a record must not be


def test_a_record_outside_the_routes_keys_is_rejected(
    make: Callable[..., RedisTarget], client: redis.Redis, unique: str
) -> None:
    other = f"{unique}x:1"
    client.set(other, "theirs")
    for placement, inside in (({}, f"{unique}:1"), ({"key": f"{unique}-{{_id}}"}, f"{unique}-1")):
        target = make(**placement)
        records: list[Held] = [
            String(inside, b"v"),
            String(other, b"v"),
            Hash(other, ((b"a", b"1"),)),
            Member(other, "m", 1.0),
        ]
        assert [(one.index, one.code) for one in target.write(records)] == [(n, "E-RDS-KEY") for n in (1, 2, 3)]
        target.delete([inside, other])
        assert client.get(inside) is None
    constant = make(key=unique, score="n")
    assert [one.index for one in constant.write([Member(unique, "m", 1.0), Member(f"{unique}:1", "m", 1.0)])] == [1]
    assert client.get(other) == b"theirs"


def test_what_redis_cannot_hold_is_rejected_and_the_rest_written(
    make: Callable[..., RedisTarget], client: redis.Redis, unique: str
) -> None:
    client.hset(f"{unique}:0", "old", "kept")
    records: list[Any] = [
        Hash(f"{unique}:0", ()),
        Hash(f"{unique}:1", ((b"a", b"1"), (b"a", b"2"))),
        Member(unique, "m", float("nan")),
        String(f"{unique}:3", b"v", 2**63),
        String(f"{unique}:\udc80", b"v"),
        Foreign(f"{unique}:5", "list"),
        String(f"{unique}:6", b"v"),
    ]
    rejected = make().write(records)
    assert [(one.index, one.code) for one in rejected] == [
        (0, "E-RDS-EMPTY"),
        (1, "E-RDS-FIELDS"),
        (2, "E-RDS-SCORE"),
        (3, "E-RDS-EXPIRY"),
        (4, "E-RDS-KEY"),
        (5, "E-RDS-RECORD"),
    ]
    assert set(client.keys(f"{unique}*")) == {f"{unique}:0".encode(), f"{unique}:6".encode()}
    assert [one.code for one in make(ttl_s=9).write([Member(unique, "m", 1.0)])] == ["E-RDS-EXPIRY"]


def test_a_value_longer_than_the_server_takes_is_rejected_alone(
    make: Callable[..., RedisTarget], redis_server: Callable[..., str], unique: str
) -> None:
    target = make(redis_server("--proto-max-bulk-len", "1mb"))
    records: list[Any] = [
        String(f"{unique}:fits", b"v" * 2**20),
        String(f"{unique}:long", b"v" * (2**20 + 1)),
        Hash(f"{unique}:hash", ((b"f", b"v" * (2**20 + 1)),)),
        Member(unique, "m" * (2**20 + 1), 1.0),
        String(f"{unique}:after", b"v"),
    ]
    assert [(one.index, one.code) for one in target.write(records)] == [(n, "E-RDS-SIZE") for n in (1, 2, 3)]
    addresses = [record.address for record in records] + [f"{unique}:{'k' * 2**20}", f"{unique}:\ud800"]
    assert set(target.read(addresses)) == {f"{unique}:fits", f"{unique}:after"}
    target.delete(addresses)
    assert list(target.addresses()) == []


def test_a_key_of_a_type_no_mapper_writes_differs_from_every_record(
    make: Callable[..., RedisTarget], client: redis.Redis, unique: str
) -> None:
    target = make()
    client.xadd(f"{unique}:stream", {"f": "v"})
    client.zadd(f"{unique}:zset", {"m": 1})
    held = target.read([f"{unique}:stream", f"{unique}:zset"])
    assert held == {
        f"{unique}:stream": Foreign(f"{unique}:stream", "stream"),
        f"{unique}:zset": Foreign(f"{unique}:zset", "zset"),
    }
    assert held[f"{unique}:stream"].canonical() == b"foreign stream"


# Trying again (R70, R72)


@pytest.mark.parametrize("allowances", [(0,), (10,), (43,), (2000,), (2000, 0, 500)])
def test_a_write_whose_connection_dies_is_completed(
    make: Callable[..., RedisTarget], redis_url: str, client: redis.Redis, unique: str, allowances: tuple[int, ...]
) -> None:
    records: list[Any] = []
    for n in range(400):
        records += [
            String(f"{unique}:s{n}", b"%d" % n),
            Hash(f"{unique}:h{n}", ((b"n", b"%d" % n),), LATER),
            Member(unique, f"m{n}", n),
            String(f"{unique}:last", b"%d" % n),
        ]
    with cutting(redis_url, *allowances) as (url, passed):
        assert make(url).write(records) == []
        assert len(passed) > len(allowances)
        assert passed[: len(allowances)] == list(allowances)
    target = make()
    expected = {record.address: record.canonical() for record in records}
    assert {at: record.canonical() for at, record in target.read(list(expected)).items()} == expected
    assert set(target.addresses()) == set(expected)


def test_reads_and_deletes_whose_connection_dies_are_completed(
    make: Callable[..., RedisTarget], redis_url: str, unique: str
) -> None:
    records = [String(f"{unique}:{n}", b"%d" % n) for n in range(800)]
    make().write(records)
    with cutting(redis_url, 500, 6000) as (url, passed):
        target = make(url)
        assert len(target.read([record.address for record in records])) == 800
        assert passed[:2] == [500, 6000]
    with cutting(redis_url, 500) as (url, passed):
        make(url).delete([record.address for record in records])
        assert passed[0] == 500
    assert list(make().addresses()) == []


def test_writing_goes_on_after_the_server_dropped_the_client(
    make: Callable[..., RedisTarget], client: redis.Redis, unique: str
) -> None:
    target = make()
    for n in range(3):
        round_trips(target, [String(f"{unique}:{n}", b"v")])
        client.client_kill_filter(_type="normal", skipme=True)
    assert len(list(target.addresses())) == 3


def test_a_server_that_stays_away_is_a_transient_error_without_the_password(
    make: Callable[..., RedisTarget], unique: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    target = make(f"redis://:hush@127.0.0.1:{port}/0", deadline_s=0.2)
    calls: list[Callable[[], object]] = [
        target.check,
        lambda: target.write([String(f"{unique}:1", b"v")]),
        lambda: target.delete([f"{unique}:1"]),
        lambda: target.read([f"{unique}:1"]),
        lambda: list(target.addresses()),
    ]
    for call in calls:
        with pytest.raises(TransientError) as failed:
            call()
        assert failed.value.code == "E-RDS-UNREACHABLE"
        assert str(port) in str(failed.value)
        assert "hush" not in str(failed.value)


def test_a_full_memory_is_waited_for_and_then_reported_with_its_size(
    make: Callable[..., RedisTarget], redis_server: Callable[..., str], unique: str
) -> None:
    url = redis_server("--maxmemory", "4mb")
    target = make(url, deadline_s=0.5)
    with pytest.raises(TransientError) as failed:
        target.write([String(f"{unique}:{n}", b"v" * 200_000) for n in range(50)])
    assert failed.value.code == "E-RDS-OOM"
    assert str(4 * 2**20) in failed.value.message
    with redis.Redis.from_url(url) as server:
        assert server.dbsize() < 50


def test_a_hash_that_finds_no_memory_leaves_the_old_one_whole(
    make: Callable[..., RedisTarget], redis_server: Callable[..., str], unique: str
) -> None:
    url = redis_server()
    old = Hash(f"{unique}:1", ((b"a", b"1"), (b"b", b"2")), LATER)
    make(url).write([old])
    with redis.Redis.from_url(url) as server:
        server.config_set("maxmemory", 1)
    target = make(url, deadline_s=0.2)
    with pytest.raises(TransientError) as failed:
        target.write([Hash(f"{unique}:1", ((b"c", b"3"),))])
    assert failed.value.code == "E-RDS-OOM"
    assert target.read([f"{unique}:1"])[f"{unique}:1"].canonical() == old.canonical()


def test_what_was_refused_for_memory_is_written_in_order_once_there_is_some(
    make: Callable[..., RedisTarget], redis_server: Callable[..., str], unique: str
) -> None:
    url = redis_server()
    target = make(url)
    with redis.Redis.from_url(url) as server, ThreadPoolExecutor(1) as thread:
        server.config_set("maxmemory", 1)
        # Without memory the first record is refused while the second, which only deletes, is not.
        key = f"{unique}:gone"
        records: list[Held] = [
            String(key, b"v"),
            String(key, b"w", 0),
            String(f"{unique}:1", b"v"),
            Hash(key + "h", ((b"a", b""),)),
        ]
        writing = thread.submit(target.write, records)
        eventually(lambda: "errorstat_OOM" in server.info("errorstats"))
        server.config_set("maxmemory", 0)
        assert writing.result(WITHIN_S) == []
        assert set(server.keys()) == {f"{unique}:1".encode(), f"{key}h".encode()}


def test_a_replica_is_refused_and_written_to_once_it_is_promoted(
    make: Callable[..., RedisTarget], redis_url: str, redis_server: Callable[..., str], unique: str
) -> None:
    primary = urlsplit(redis_url)
    url = redis_server("--replicaof", f"{primary.hostname} {primary.port}")
    with pytest.raises(PlanError) as refused:
        make(url).check()
    assert refused.value.code == "E-RDS-REPLICA"
    records: list[Held] = [String(f"{unique}:1", b"v"), Hash(f"{unique}:2", ((b"a", b"1"),))]
    with redis.Redis.from_url(url) as server, ThreadPoolExecutor(1) as thread:
        with pytest.raises(TransientError) as failed:
            make(url, deadline_s=0.2).write(records)
        assert failed.value.code == "E-RDS-UNAVAILABLE"
        assert "READONLY" in str(failed.value)
        server.config_resetstat()
        target = make(url)
        writing = thread.submit(target.write, records)
        eventually(lambda: "errorstat_READONLY" in server.info("errorstats"))
        server.replicaof("no", "one")
        assert writing.result(WITHIN_S) == []
        assert len(target.read([record.address for record in records])) == 2


def test_memory_that_runs_out_before_exec_is_told_from_a_faulty_transaction(redis_server: Callable[..., str]) -> None:
    with redis.Redis.from_url(redis_server(), protocol=2) as server:
        connection = server.connection_pool.get_connection()
        for command in (("MULTI",), ("HSET", "key", "field", "value")):
            connection.send_command(*command)
            connection.read_response()
        server.config_set("maxmemory", 1)
        connection.send_command("EXEC")
        with pytest.raises(redis.exceptions.ExecAbortError) as refused:
            connection.read_response()
        assert code(refused.value) == "OOM"
        server.connection_pool.release(connection)


# Refusals


def test_a_wrong_or_missing_password_stops_at_once(
    make: Callable[..., RedisTarget], redis_server: Callable[..., str], unique: str
) -> None:
    url = redis_server("--requirepass", "hush")
    for given_url in (url, url.replace("//", "//:whisper@")):
        for call in (lambda t: t.check(), lambda t: t.write([String(f"{unique}:1", b"v")]), lambda t: [*t.addresses()]):
            with pytest.raises(PermanentError) as refused:
                call(make(given_url))
            assert refused.value.code == "E-RDS-AUTH"
            assert "whisper" not in str(refused.value)
    round_trips(make(url.replace("//", "//:hush@")), [String(f"{unique}:1", b"v")])


def test_a_user_without_permission_stops_instead_of_rejecting_documents(
    make: Callable[..., RedisTarget], redis_server: Callable[..., str], unique: str
) -> None:
    url = redis_server()
    with redis.Redis.from_url(url) as server:
        server.acl_setuser(
            "reader", enabled=True, nopass=True, keys=["*"], commands=["+@read", "+@transaction", "+info"]
        )
    target = make(url.replace("//", "//reader:x@"))
    for record in (String(f"{unique}:1", b"v"), Hash(f"{unique}:1", ((b"a", b"1"),)), Member(unique, "m", 1.0)):
        with pytest.raises(PermanentError) as refused:
            target.write([record])
        assert refused.value.code == "E-RDS-AUTH"
    assert target.read([f"{unique}:1"]) == {}


def test_a_server_that_is_no_redis_stops_at_once(make: Callable[..., RedisTarget], unique: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as thread:

        def answer() -> None:
            with listener.accept()[0] as connection:
                connection.recv(1)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        answering = thread.submit(answer)
        with pytest.raises(PermanentError) as refused:
            make(f"redis://127.0.0.1:{listener.getsockname()[1]}/0").write([String(f"{unique}:1", b"v")])
        assert refused.value.code == "E-RDS-SERVER"
        answering.result(WITHIN_S)


def test_an_unknown_refusal_stops_and_shows_no_value(
    make: Callable[..., RedisTarget], redis_server: Callable[..., str], unique: str
) -> None:
    target = make(redis_server("--rename-command", "SET", ""))
    with pytest.raises(PermanentError) as refused:
        target.write([String(f"{unique}:1", b"a document's value")])
    assert refused.value.code == "E-RDS-SERVER"
    assert "unknown command" in str(refused.value)
    assert "document's" not in str(refused.value)


# Checking


def test_a_good_server_has_nothing_to_be_known_and_no_identity(make: Callable[..., RedisTarget]) -> None:
    assert list(make().check()) == []
    assert make().prepare() == ""


def test_a_server_that_evicts_is_refused_unless_accepted(
    make: Callable[..., RedisTarget], redis_server: Callable[..., str]
) -> None:
    url = redis_server("--maxmemory", "100mb", "--maxmemory-policy", "volatile-lru")
    with pytest.raises(PlanError) as refused:
        make(url).prepare()
    assert refused.value.code == "E-RDS-EVICTION"
    assert "volatile-lru" in refused.value.message
    assert "allow_eviction: true" in refused.value.message
    (warning,) = make(url, allow_eviction=True).check()
    assert "volatile-lru" in warning
    with redis.Redis.from_url(url) as server:
        server.config_set("maxmemory", 0)
    (warning,) = make(url).check()
    assert "volatile-lru" in warning


def test_a_server_without_expiry_times_is_refused(
    make: Callable[..., RedisTarget], redis_server: Callable[..., str]
) -> None:
    with pytest.raises(PlanError) as refused:
        make(redis_server("--rename-command", "PEXPIRETIME", "")).check()
    assert refused.value.code == "E-RDS-VERSION"


def test_a_cluster_is_refused(make: Callable[..., RedisTarget], redis_server: Callable[..., str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    with pytest.raises(PlanError) as refused:
        make(redis_server("--cluster-enabled", "yes", "--cluster-port", port)).check()
    assert refused.value.code == "E-RDS-CLUSTER"


def test_a_whole_key_that_holds_another_type_is_refused(
    make: Callable[..., RedisTarget], client: redis.Redis, unique: str
) -> None:
    whole = f"{unique}:whole"
    placements: Sequence[dict[str, Any]] = ({"key": whole, "score": "n"}, {"key": whole})
    client.set(whole, "v")
    with pytest.raises(PlanError) as refused:
        make(**placements[0]).check()
    assert refused.value.code == "E-RDS-TYPE"
    make(**placements[1]).check()
    client.delete(whole)
    client.xadd(whole, {"f": "v"})
    for placement in placements:
        with pytest.raises(PlanError):
            make(**placement).check()
    client.delete(whole)
    client.zadd(whole, {"m": 1})
    for placement in placements:
        make(**placement).check()


# Listing (R75)


def test_a_listing_names_all_keys_of_the_route_and_no_others(
    make: Callable[..., RedisTarget], client: redis.Redis, unique: str
) -> None:
    target = make()
    assert isinstance(target, Listable)
    own = [String(f"{unique}:{n}", b"v") for n in range(10_000)]
    target.write(own)
    with client.pipeline(transaction=False) as others:
        for n in range(3_000):
            for key in (f"{unique}x:{n}", f"x{unique}:{n}", f"{unique}{n}"):
                others.set(key, "v")
        others.execute()
    assert set(target.addresses()) == {record.address for record in own}


def test_a_prefix_is_taken_literally_when_listing(
    make: Callable[..., RedisTarget], client: redis.Redis, unique: str
) -> None:
    prefix = unique + r"*?[a-c]^\ü:"
    target = make(key=prefix + "{_id}")
    target.write([String(f"{prefix}1", b"v")])
    for other in (unique + r"zzza^\ü:1", unique + r"*?a^\ü:1", unique + "*?[a-c]^ü:1", unique + r"*?[a-c]^\\ü:1"):
        client.set(other, "v")
    assert list(target.addresses()) == [f"{prefix}1"]


def test_names_of_others_that_are_no_unicode_are_listed_read_and_deleted(
    make: Callable[..., RedisTarget], client: redis.Redis, unique: str
) -> None:
    target = make()
    client.set(f"{unique}:".encode() + b"\xff\xfe", b"v")
    client.zadd(unique, {b"\xff\x80": 1.5, "fine é".encode(): 2})
    listed = set(target.addresses())
    assert len(listed) == 3
    assert Member(unique, "fine é", 2.0).address in listed
    held = target.read(sorted(listed))
    assert set(held) == listed
    assert sorted(record.score for record in held.values() if isinstance(record, Member)) == [1.5, 2.0]
    target.delete(sorted(listed))
    assert list(target.addresses()) == []


def test_sorted_sets_are_listed_by_member(make: Callable[..., RedisTarget], client: redis.Redis, unique: str) -> None:
    members = [Member(unique, f"m{n}", n) for n in range(3_000)]
    make().write(members)
    client.zadd(f"{unique}:other", {"m": 1})
    other = Member(f"{unique}:other", "m", 1.0)
    listed = {record.address for record in members}
    assert set(make(score="n").addresses()) == listed
    assert set(make(key=unique).addresses()) == listed
    assert set(make().addresses()) == listed | {other.address}
    assert set(make(key=f"{unique}{{shard}}", score="n").addresses()) == listed | {other.address}


def test_a_whole_key_is_listed_alone(make: Callable[..., RedisTarget], client: redis.Redis, unique: str) -> None:
    assert list(make(key=unique).addresses()) == []
    client.mset({unique: "v", f"{unique}:1": "v"})
    assert list(make(key=unique).addresses()) == [unique]
    assert json.loads(Member(unique, "m", 1.0).address) == [unique, "m"]


def test_a_listing_whose_connection_dies_still_names_every_key(
    make: Callable[..., RedisTarget], redis_url: str, unique: str
) -> None:
    records = [String(f"{unique}:{n}", b"v") for n in range(5_000)]
    make().write(records)
    with cutting(redis_url, 30_000, 90_000) as (url, passed):
        assert set(make(url).addresses()) == {record.address for record in records}
        assert passed[:2] == [30_000, 90_000]


# Options


def test_making_a_target_opens_no_connection(make: Callable[..., RedisTarget]) -> None:
    assert make("redis://127.0.0.1:1/0").records == (String, Hash, Set, List, Json, Member, SetMember, Entry)


@pytest.mark.parametrize(
    "placement",
    [
        {"key": "{_id}"},
        {"key": ""},
        {"key": '["{_id}'},
        {"key": '["whole'},
        {"key": "a:{"},
        {"ttl_s": 0},
        {"ttl_s": -1},
        {"ttl_s": 10, "expires": "at"},
        {"ttl_s": 10, "score": "n"},
        {"ttl_s": 10, "entry": "_id"},
        {"expires": "at", "score": "n"},
        {"expires": "at", "member": "_id"},
        {"expires": "at", "location": "place"},
    ],
)
def test_a_placement_that_cannot_be_served_is_refused(
    make: Callable[..., RedisTarget], placement: dict[str, Any]
) -> None:
    if placement == {"key": ""}:
        placement = {"key": "", "score": "n"}
    with pytest.raises(ValueError):
        make(**placement)


@pytest.mark.parametrize(
    "url",
    [
        "http://hush@127.0.0.1:6379/0",
        "127.0.0.1:6379",
        "redis://127.0.0.1:6379/hush",
        "redis://user:hush/1@127.0.0.1/0",
        "redis://127.0.0.1/0?no_such_option=hush",
    ],
)
def test_a_wrong_url_is_refused_without_being_shown(make: Callable[..., RedisTarget], url: str) -> None:
    with pytest.raises(ValueError) as refused:
        make(url)
    assert "hush" not in str(refused.value)


def test_options_of_the_url_do_not_change_what_is_read(
    make: Callable[..., RedisTarget], redis_url: str, unique: str
) -> None:
    target = make(f"{redis_url}?decode_responses=true&protocol=3&socket_timeout=9")
    round_trips(target, [Hash(f"{unique}:1", ((b"\xff", b"\xfe"),)), Member(unique, "m", 0.1)])


def test_two_routes_overlap_exactly_if_they_share_a_key() -> None:
    def territory(route: str, **placement: Any) -> str:
        connection = RedisTarget.Connection("redis://127.0.0.1:1/0")
        return RedisTarget(connection, RedisTarget.Placement(**placement), route).territory

    places = {
        "a: a:*": territory("a"),
        "b: b:*": territory("b"),
        "a:b a:b:*": territory("a:b"),
        "ab ab:*": territory("ab"),
        "a": territory("any", key="a"),
        "a again": territory("a", score="n"),
        "a:b": territory("any", key="a:b"),
        "a*": territory("any", key="a{_id}"),
        "a:*": territory("any", key="a:{_id}"),
        "a::*": territory("any", key="a::{_id}"),
        "b:x*": territory("any", key="b:x{_id}", score="n"),
    }
    overlapping = {
        frozenset((one, other))
        for one, first in places.items()
        for other, second in places.items()
        if one != other and (first.startswith(second) or second.startswith(first))
    }
    expected = {
        "a: a:*": ["a:b a:b:*", "a", "a again", "a:b", "a*", "a:*", "a::*"],
        "b: b:*": ["b:x*"],
        "a:b a:b:*": ["a:b", "a*", "a:*"],
        "ab ab:*": ["a*"],
        "a": ["a again", "a*"],
        "a again": ["a*"],
        "a:b": ["a*", "a:*"],
        "a*": ["a:*", "a::*"],
        "a:*": ["a::*"],
    }
    assert overlapping == {frozenset((one, other)) for one, others in expected.items() for other in others}
