"""A source that says nothing: a slow server is waited for, a connection that is gone is not, and none after a stop."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar
from urllib.parse import urlsplit

import pytest
from chaos.proxy import Proxy, ProxyLoop
from pymongo import MongoClient
from pymongo.database import Database
from waiting import until

from flows.demo.servers import free_port
from stores.contract.source import Partition
from stores.errors import TransientError
from stores.mongodb.configuration import Connection
from stores.mongodb.database import MongoDB
from stores.mongodb.waiting import Waiting
from stores.throttling.backoff import Timing

DOCUMENTS = 3_000
LIMIT_S = 60
"""Well below what a driver waits for an answer, and far above what these take."""
T = TypeVar("T")


@pytest.fixture
def proxy(mongodb_url: str) -> Iterator[Proxy]:
    loop = ProxyLoop()
    with loop.proxy("source", urlsplit(mongodb_url).port or 0, "mongodb") as opened:
        yield opened
    loop.close()


@pytest.fixture
def stop() -> threading.Event:
    return threading.Event()


@pytest.fixture
def source(proxy: Proxy, database: Database[dict[str, Any]], stop: threading.Event) -> Iterator[MongoDB]:
    database.things.insert_many([{"_id": number} for number in range(DOCUMENTS)])
    uri = f"mongodb://127.0.0.1:{proxy.port}/?directConnection=true"
    opened = MongoDB(Connection(uri, database.name, retry_deadline_s=4), timing=Timing(stop=stop))
    opened.source("things").check()
    yield opened
    opened.close()


def within_limit(work: Callable[[], T], meanwhile: Callable[[], object] = lambda: None) -> T:
    """Return what the work gives; it has to end long before a driver would give up."""
    threads = ThreadPoolExecutor(1)
    try:
        future = threads.submit(work)
        meanwhile()
        return future.result(LIMIT_S)
    finally:
        threads.shutdown(wait=False)


def read(source: MongoDB) -> int:
    return sum(len(batch.documents) for batch in source.source("things").read(Partition(0)))


def test_a_connection_that_went_silent_is_left_and_the_read_goes_on(proxy: Proxy, source: MongoDB) -> None:
    def swallow_once() -> None:
        until(lambda: proxy.requests > before, "a request")
        proxy.faults.swallow = False

    before = proxy.requests
    proxy.faults.swallow = True  # What passes now is lost, and its connection stays silent for good.
    assert within_limit(lambda: read(source), swallow_once) == DOCUMENTS


def test_a_server_that_is_slow_is_waited_for(source: MongoDB, mongodb_url: str) -> None:
    slow = {"failCommands": ["find"], "blockConnection": True, "blockTimeMS": 8_000}  # Longer than a first wait.
    with MongoClient[dict[str, Any]](mongodb_url) as client:
        client.admin.command({"configureFailPoint": "failCommand", "mode": {"times": 2}, "data": slow})
        try:
            assert within_limit(lambda: read(source)) == DOCUMENTS
        finally:
            client.admin.command({"configureFailPoint": "failCommand", "mode": "off"})


def test_a_stop_ends_the_wait_for_a_silent_source(proxy: Proxy, source: MongoDB, stop: threading.Event) -> None:
    def stop_once_asked() -> None:
        until(lambda: proxy.requests > before, "a request")
        stop.set()

    before = proxy.requests
    proxy.faults.swallow = True
    with pytest.raises(TransientError) as stopped:
        within_limit(lambda: read(source), stop_once_asked)
    assert stopped.value.code == "E-STOPPED"


def test_a_source_that_is_silent_as_a_whole_is_away(proxy: Proxy, source: MongoDB) -> None:
    proxy.faults.swallow = True
    with pytest.raises(TransientError) as away:
        within_limit(lambda: read(source))
    assert away.value.code == "E-SRC-AWAY"


def test_a_closed_port_is_not_waited_for_where_nothing_waits(starts_server: None) -> None:
    opened = MongoDB(Connection(f"mongodb://127.0.0.1:{free_port()}", "shop", retry_deadline_s=3600))
    with pytest.raises(TransientError) as away:
        opened.facts([], at_once=True)
    opened.close()
    assert away.value.code == "E-SRC-AWAY"
    assert "nothing listens on this port" in away.value.message


def test_an_answer_and_an_error_are_those_of_the_question() -> None:
    waiting = Waiting(10, threading.Event())
    assert waiting.ask(lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        waiting.ask(lambda: 1 // 0)
