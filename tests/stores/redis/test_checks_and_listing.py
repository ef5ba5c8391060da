"""Which servers and keys are taken, what a listing names, and what a plan may say of a Redis."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import redis
from redis_relay import cutting, round_trips

from mappers.redis.json_document import Json
from mappers.redis.records import Entry, Hash, List, Member, Set, SetMember, String
from stores.contract.target import Listable
from stores.errors import PlanError
from stores.redis.target import RedisTarget

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
    (warning,) = make(url, connection={"allow_eviction": True}).check()
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


@pytest.mark.parametrize(
    ("placement", "name"),
    [
        ({}, "keys {route} and {route}:*"),
        ({"key": "s:{_id}"}, "keys s:*"),
        ({"key": "whole"}, "key whole"),
        ({"score": "n"}, "key {route}"),
    ],
)
def test_a_place_is_called_the_same_before_and_after_a_run(
    make: Callable[..., RedisTarget], unique: str, placement: dict[str, str], name: str
) -> None:
    target = make(**placement) if placement else make(key=None)
    assert target.describe_place() == target.inspect_place().name == name.format(route=unique)


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
