"""An Elasticsearch target of the test's own index, reached through a proxy that a test can make faulty."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from elasticsearch_proxy import Proxy
from http_servers import serving

from stores.elasticsearch.target import ElasticsearchTarget


@pytest.fixture
def proxy(elasticsearch_url: str) -> Iterator[Proxy]:
    proxy = Proxy(elasticsearch_url)
    with serving(proxy.reply) as proxy.url:
        yield proxy


Make = Callable[..., ElasticsearchTarget]


@pytest.fixture
def make(proxy: Proxy, unique: str) -> Iterator[Make]:
    """Make a target of the test's own index, reached through the proxy."""
    made: list[ElasticsearchTarget] = []

    def make(deadline_s: float = 30, **placement: Any) -> ElasticsearchTarget:
        connection = ElasticsearchTarget.Connection(proxy.url, retry_deadline_s=deadline_s)
        made.append(ElasticsearchTarget(connection, ElasticsearchTarget.Placement(**placement), unique))
        return made[-1]

    yield make
    for target in made:
        target.close()


@pytest.fixture
def target(make: Make) -> ElasticsearchTarget:
    """A prepared target with a mapped number, a date and an object."""
    target = make(mapping={"n": "long", "at": "date", "place.name": "text"})
    target.prepare()
    return target
