"""What a Redis holds after a write: replaced whole, expiring as it should, refused where it cannot be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st
from redis_relay import LATER, round_trips

from mappers.redis.records import Hash, Member, String
from stores.redis.commands import Foreign, Held
from stores.redis.target import RedisTarget

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
