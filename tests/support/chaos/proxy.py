"""A TCP proxy with faults, which counts requests as its protocol frames them."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

T = TypeVar("T")
Protocol = Literal["mongodb", "redis", "http"]

_THROTTLED = {
    b"x-amz-target": (
        b"HTTP/1.1 400 Bad Request\r\nContent-Type: application/x-amz-json-1.0\r\nContent-Length: %d\r\n\r\n%s",
        b'{"__type":"com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException","message":"slow down"}',
    ),
    b"": (
        b"HTTP/1.1 429 Too Many Requests\r\nContent-Type: application/json\r\nX-Elastic-Product: Elasticsearch\r\n"
        b"Content-Length: %d\r\n\r\n%s",
        b'{"error":{"type":"es_rejected_execution_exception","reason":"queue is full"},"status":429}',
    ),
}


@dataclass
class Faults:
    """What the proxy does to what passes; changed while it runs."""

    latency_s: float = 0.0
    swallow: bool = False
    """Nothing passes in either direction, and no connection ends: the other end is gone without a word."""
    cut_after: int | None = None
    """The next connections end after so many bytes of answers."""
    throttle: int = 0
    """So many requests are answered by the proxy itself: slow down. Only where the protocol is http."""


@dataclass
class _Aim:
    request: int
    action: Callable[[], None]


@dataclass
class Proxy:
    """A proxy before one server, on a port of its own."""

    name: str
    upstream: int
    protocol: Protocol
    loop: ProxyLoop
    faults: Faults = field(default_factory=Faults)
    port: int = 0
    requests: int = 0
    log: list[str] = field(default_factory=list)
    _server: asyncio.Server | None = None
    _open: set[asyncio.StreamWriter] = field(default_factory=set)
    _aims: list[_Aim] = field(default_factory=list)
    _began: float = field(default_factory=time.monotonic)

    @property
    def connections(self) -> int:
        """The connections that are open, with both ends."""
        return len(self._open) // 2

    def note(self, text: str) -> None:
        """Add a line to the log."""
        self.log.append(f"{time.monotonic() - self._began:8.3f} {self.name} request {self.requests}: {text}")

    def at_request(self, number: int, action: Callable[[], None]) -> None:
        """Do this just before the request of this number, counted from now, is passed on."""
        self._aims.append(_Aim(self.requests + number, action))

    def forget_aims(self) -> None:
        """Do nothing at any request any more."""
        self._aims.clear()

    def listen(self) -> None:
        """Accept connections, on the port of before if there was one."""
        self.loop.run(self._listen())

    def refuse(self) -> None:
        """Refuse connections from now on; those that are open end."""
        self.note("refuses connections")
        self.loop.run(self._refuse())

    def reset(self) -> None:
        """End all connections without a word."""
        self.note("resets all connections")
        self.loop.call(self._abort)

    def close(self) -> None:
        """Stop, for good."""
        self.loop.run(self._refuse())

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._connection, "127.0.0.1", self.port, limit=1 << 26)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _refuse(self) -> None:
        if self._server is not None:
            self._server.close()
        self._abort()

    def _abort(self) -> None:
        for writer in list(self._open):
            writer.transport.abort()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            behind, ahead = await asyncio.open_connection("127.0.0.1", self.upstream, limit=1 << 26)
        except OSError:
            writer.transport.abort()
            return
        self._open |= {writer, ahead}
        allowance = self.faults.cut_after
        try:
            passing = [self._requests(reader, ahead, writer), self._answers(behind, writer, allowance)]
            tasks = [asyncio.ensure_future(each) for each in passing]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            self._open -= {writer, ahead}
            for end in (writer, ahead):
                with suppress(OSError, RuntimeError):
                    end.transport.abort() if allowance is not None else end.close()

    async def _requests(
        self, reader: asyncio.StreamReader, ahead: asyncio.StreamWriter, back: asyncio.StreamWriter
    ) -> None:
        while request := await self._request(reader):
            self.requests += 1
            for aim in [aim for aim in self._aims if aim.request <= self.requests]:
                self._aims.remove(aim)
                aim.action()
            if self.faults.latency_s:
                await asyncio.sleep(self.faults.latency_s)
            if self.faults.swallow:
                # What was swallowed is lost, as if the network had lost it; the connection says nothing any more.
                await asyncio.sleep(3600)
            if self.faults.throttle and self.protocol == "http":
                self.faults.throttle -= 1
                head, body = _THROTTLED[b"x-amz-target" if b"x-amz-target" in request[:4096].lower() else b""]
                back.write(head % (len(body), body))
                continue
            ahead.write(request)
            await ahead.drain()

    async def _request(self, reader: asyncio.StreamReader) -> bytes:
        """Return one whole request, or what came, by the protocol; nothing at the end of the connection."""
        try:
            match self.protocol:
                case "redis":
                    return await reader.read(1 << 16)
                case "mongodb":
                    head = await reader.readexactly(4)
                    return head + await reader.readexactly(int.from_bytes(head, "little") - 4)
                case _:
                    head = await reader.readuntil(b"\r\n\r\n")
                    return head + await reader.readexactly(_content_length(head))
        except (OSError, asyncio.IncompleteReadError):
            return b""

    async def _answers(self, behind: asyncio.StreamReader, writer: asyncio.StreamWriter, allowance: int | None) -> None:
        passed = 0
        while data := await behind.read(1 << 16):
            if self.faults.swallow:
                await asyncio.sleep(3600)
            if allowance is not None:
                data = data[: allowance - passed]
            writer.write(data)
            await writer.drain()
            passed += len(data)
            if allowance is not None and passed >= allowance:
                self.note(f"cuts a connection after {passed} bytes of answers")
                return


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            return int(value)
    return 0


class ProxyLoop:
    """The thread in which all proxies work."""

    def __init__(self) -> None:
        """Start it."""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what the work gives, done in the thread."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def call(self, function: Callable[[], None]) -> None:
        """Do this in the thread, some time soon."""
        self._loop.call_soon_threadsafe(function)

    def close(self) -> None:
        """End the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    @contextmanager
    def proxy(self, name: str, upstream: int, protocol: Protocol) -> Iterator[Proxy]:
        """Yield a proxy before the server at this port."""
        proxy = Proxy(name, upstream, protocol, self)
        proxy.listen()
        try:
            yield proxy
        finally:
            proxy.close()
