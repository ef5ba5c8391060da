"""A Redis target of the test's own route, and a client beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import pytest
import redis
from redis_relay import WITHIN_S

from stores.redis.target import RedisTarget


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as connected:
        yield connected


@pytest.fixture
def make(redis_url: str, unique: str) -> Iterator[Callable[..., RedisTarget]]:
    """Make a target of the test's own route, closed at its end; any option of connection or placement may be given."""
    made: list[RedisTarget] = []

    def target(
        url: str = redis_url,
        *,
        deadline_s: float = WITHIN_S,
        connection: Mapping[str, Any] = MappingProxyType({}),
        **placement: Any,
    ) -> RedisTarget:
        way = RedisTarget.Connection(url, retry_deadline_s=deadline_s, **connection)
        made.append(RedisTarget(way, RedisTarget.Placement(**placement), unique))
        return made[-1]

    yield target
    for one in made:
        one.close()
