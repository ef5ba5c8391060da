"""The proxy of the soak: each fault does what its name says, and none outlives its time."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
from chaos.proxy import Protocol, Proxy, ProxyLoop
from http_servers import Reply, Request, serving
from waiting import until


@pytest.fixture(scope="module")
def loop() -> Iterator[ProxyLoop]:
    loop = ProxyLoop()
    yield loop
    loop.close()


def answer(request: Request) -> Reply:
    return Reply(200, b"x" * 5000)


@contextmanager
def proxied(loop: ProxyLoop, protocol: Protocol = "http") -> Iterator[Proxy]:
    with serving(answer) as url, loop.proxy("server", int(url.rpartition(":")[2]), protocol) as proxy:
        yield proxy


def asked(proxy: Proxy, **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=10)
    try:
        connection.request("POST", "/", b"body", headers)
        got = connection.getresponse()
        return got.status, got.read()
    finally:
        connection.close()


def test_without_a_fault_requests_and_answers_pass_and_are_counted(loop: ProxyLoop) -> None:
    with proxied(loop) as proxy:
        assert asked(proxy) == (200, b"x" * 5000)
        assert asked(proxy) == (200, b"x" * 5000)
        assert proxy.requests == 2


def test_what_is_aimed_at_a_request_is_done_before_it_passes_and_once(loop: ProxyLoop) -> None:
    done: list[int] = []
    with proxied(loop) as proxy:
        proxy.at_request(2, lambda: done.append(proxy.requests))
        for _ in range(3):
            asked(proxy)
    assert done == [2]


@pytest.mark.parametrize(
    ("headers", "status", "word"),
    [({"X-Amz-Target": "BatchWriteItem"}, 400, b"ProvisionedThroughput"), ({}, 429, b"es_rejected")],
)
def test_throttled_requests_are_answered_by_the_proxy_as_the_store_would(
    headers: dict[str, str], status: int, word: bytes, loop: ProxyLoop
) -> None:
    with proxied(loop) as proxy:
        proxy.faults.throttle = 1
        got, body = asked(proxy, **headers)
        assert (got, word in body) == (status, True)
        assert asked(proxy)[0] == 200


def test_an_answer_is_cut_in_its_middle(loop: ProxyLoop) -> None:
    with proxied(loop) as proxy:
        proxy.faults.cut_after = 1000
        with pytest.raises((http.client.HTTPException, OSError)):
            asked(proxy)
        proxy.faults.cut_after = None
        assert asked(proxy)[0] == 200


@pytest.mark.server  # A port at which nothing listens is, to the guard, another process.
def test_connections_are_refused_until_it_listens_again(loop: ProxyLoop) -> None:
    with proxied(loop) as proxy:
        proxy.refuse()
        with pytest.raises(ConnectionRefusedError):
            asked(proxy)
        proxy.listen()
        assert asked(proxy)[0] == 200


@pytest.mark.parametrize("protocol", ["http", "mongodb", "redis"])
def test_a_reset_ends_what_is_open(protocol: Protocol, loop: ProxyLoop) -> None:
    with proxied(loop, protocol) as proxy, socket.create_connection(("127.0.0.1", proxy.port), 10) as client:
        until(lambda: proxy.connections > 0, "the connection to be open")
        proxy.reset()
        with suppress(ConnectionResetError):
            assert client.recv(1) == b""


def test_what_is_swallowed_never_arrives(loop: ProxyLoop) -> None:
    with proxied(loop) as proxy, socket.create_connection(("127.0.0.1", proxy.port), 10) as client:
        proxy.faults.swallow = True
        client.sendall(b"POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n")
        until(lambda: proxy.requests == 1, "the request to come")
        proxy.faults.swallow = False
        client.settimeout(0.2)
        with pytest.raises(TimeoutError):
            client.recv(1)
