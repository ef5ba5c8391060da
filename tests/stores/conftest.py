"""A MongoDB opened as the tool does, and what is sent to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
from documentdb_proxy import documentdb
from mongodbs import LISTENER, Documents

from stores.mongodb import collection as mongodb
from stores.mongodb.configuration import LIMITS, Connection, Limits
from stores.mongodb.database import MongoDB
from stores.mongodb.flavour import BoundWay


@pytest.fixture
def source_url(request: pytest.FixtureRequest, mongodb_url: str) -> Iterator[str]:
    """The server that is read; `mongodbs.EACH_SOURCE` makes a test one of a MongoDB and of each DocumentDB."""
    version = getattr(request, "param", None)
    if version is None:
        yield mongodb_url
        return
    # Fewer empty answers than prove anything, so that no law waits for the time that silence must last.
    with documentdb(mongodb_url, version, empty_answers=2) as server:
        yield server.url


@pytest.fixture
def opened(source_url: str, mongodb_url: str) -> Iterator[Callable[..., MongoDB]]:
    """Open a database as the tool does, with a retry deadline that no test waits for in vain."""
    running: list[MongoDB] = []

    def open_one(
        database: str,
        url: str = source_url,
        *,
        limits: Limits = LIMITS,
        only_way: BoundWay | None = None,
        **keys: Any,
    ) -> MongoDB:
        if source_url != mongodb_url:
            limits = replace(limits, quiet_s=0.1)
        connection = Connection(url, database, **{"retry_deadline_s": 20, **keys})
        running.append(MongoDB(connection, limits=limits, only_way=only_way))
        return running[-1]

    yield open_one
    for one in running:
        one.close()


@pytest.fixture
def source(database: Documents, opened: Callable[..., MongoDB]) -> Callable[..., mongodb.CollectionSource]:
    """Return the source of a collection: ``source("things", where={...}, read_preference="nearest")``."""

    def of(collection: str, where: Mapping[str, Any] | None = None, **keys: Any) -> mongodb.CollectionSource:
        return opened(database.name, **keys).source(collection, where)

    return of


@pytest.fixture
def sent() -> Iterator[list[Mapping[str, Any]]]:
    """The commands that clients opened since this module was imported send during the test."""
    LISTENER.heard = []
    yield LISTENER.heard
    LISTENER.heard = None
