"""RedisTarget on a Valkey with the JSON module of a Redis Stack, and on one without."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from mappers.redis.json_document import Json
from mappers.redis.records import String
from stores.errors import PermanentError, PlanError
from stores.redis.target import RedisTarget


@pytest.fixture
def make(redis_json_url: str, unique: str) -> Iterator[Callable[..., RedisTarget]]:
    made: list[RedisTarget] = []

    def target(url: str = redis_json_url, **placement: Any) -> RedisTarget:
        connection = RedisTarget.Connection(url, retry_deadline_s=20)
        made.append(RedisTarget(connection, RedisTarget.Placement(**placement), unique))
        return made[-1]

    yield target
    for one in made:
        one.close()


def test_a_server_without_json_is_refused_before_anything_is_written(
    make: Callable[..., RedisTarget], redis_url: str, unique: str
) -> None:
    assert make(json=True).check() == []
    with pytest.raises(PlanError) as refused:
        make(redis_url, json=True).check()
    assert refused.value.code == "E-RDS-NOJSON"
    for use in (make(redis_url).write, lambda some: make(redis_url).measure(some, 1, {})):
        with pytest.raises(PermanentError) as failed:
            use([Json(f"{unique}:1", b"{}")])
        assert failed.value.code == "E-RDS-NOJSON"


def test_a_document_that_is_too_deep_is_rejected_alone_and_leaves_nothing(
    make: Callable[..., RedisTarget], unique: str
) -> None:
    """Its key held something older, which is no longer what the source says."""
    target = make()
    deep = Json(f"{unique}:deep", b'{"a":' * 150 + b"1" + b"}" * 150)
    fine = Json(f"{unique}:fine", b'{"a":' * 120 + b"1" + b"}" * 120)
    assert target.write([String(deep.key, b"old")]) == []
    (rejected,) = target.write([deep, fine])
    assert (rejected.index, rejected.code) == (0, "E-RDS-JSON")
    assert set(target.read([deep.key, fine.key])) == {fine.key}


def test_a_life_is_set_changed_and_taken_away(
    make: Callable[..., RedisTarget], redis_json_url: str, unique: str
) -> None:
    """JSON.SET alone would keep a life that the source no longer gives (R66)."""
    key, later = f"{unique}:1", 4_102_444_800_000
    with redis.Redis.from_url(redis_json_url) as client:
        for expires in (later, later + 1, None):
            assert make().write([Json(key, b"{}", expires)]) == []
            assert client.pexpiretime(key) == (-1 if expires is None else expires)
        assert make().write([Json(key, b"{}", 1)]) == []
        assert not client.exists(key)
        assert make(ttl_s=100).write([Json(key, b"{}")]) == []
        assert 90_000 < client.pttl(key) <= 100_000
        assert make(ttl_s=100).read([key])[key].canonical() == Json(key, b"{}").canonical()


def test_a_document_that_was_changed_in_place_is_a_difference(
    make: Callable[..., RedisTarget], redis_json_url: str, unique: str
) -> None:
    whole = Json(f"{unique}:1", b'{"a":1.0,"b":[0.1,5e-324,1e300,-0.0,18446744073709551615]}')
    target = make()
    assert target.write([whole]) == []
    assert target.read([whole.key])[whole.key].canonical() == whole.canonical()
    with redis.Redis.from_url(redis_json_url) as client:
        client.execute_command("JSON.SET", whole.key, "$.b[0]", "0.10000000000000002")
    assert target.read([whole.key])[whole.key].canonical() != whole.canonical()


def test_the_room_that_documents_take_is_measured(
    make: Callable[..., RedisTarget], redis_json_url: str, unique: str
) -> None:
    text = b'{"name":"%06d","list":[1,2,3],"deep":{"a":{"b":"' + b"x" * 100 + b'"}}}'
    records = [Json(f"{unique}:{number:06d}", text % number) for number in range(4_000)]
    target = make()
    estimate = target.measure(records[:500], 8, {})[1]
    with redis.Redis.from_url(redis_json_url) as client:
        before = client.info("memory")["used_memory"]
        assert target.write(records) == []
        grown = client.info("memory")["used_memory"] - before
    assert 0.85 < estimate / grown < 1.15, (estimate, grown)
