"""A relay before a server that sees each request whole, knows who sent it, and can keep requests back."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Protocol
from urllib.parse import urlsplit

import psutil

_READING_HTTP = re.compile(
    rb"(GET|HEAD) |POST /\S*/?(_search|_mget|_count|_refresh|_pit|_simulate|scroll)\b|DELETE /(_pit|_search)\b"
)
_READING_AWS = re.compile(rb"(?i)x-amz-target: \S+\.(Describe|List|BatchGet|Get|Query|Scan)")
_READING_REDIS = frozenset(
    b"AUTH HELLO CLIENT SELECT PING INFO CONFIG TYPE GET HGETALL SMEMBERS LRANGE ZSCORE SISMEMBER XRANGE XLEN XINFO"
    b" SCAN ZSCAN SSCAN PEXPIRETIME TIME MEMORY WAIT CLUSTER COMMAND WATCH UNWATCH READONLY READWRITE".split()
)


@dataclass(frozen=True)
class Seen:
    """One request: an HTTP request, or the commands that arrived together."""

    at: float
    """When all of it had arrived, by the monotonic clock."""
    began: float
    """When the first of it had arrived, or of what came together with it."""
    by_child: bool
    """Whether a child of this process sent it, and not this process itself."""
    sender: str
    """The address that it came from."""
    changes: bool
    """Whether it changes something, by its own words."""
    data: bytes = field(repr=False)

    def __str__(self) -> str:
        return repr(self.data[:160])


class Relay:
    """Requests on their way to one server."""

    def __init__(
        self,
        url: str,
        *,
        redis: bool,
        look: Callable[[Seen], object] | None = None,
        bytes_per_s: float = float("inf"),
    ) -> None:
        """Keep each request in `seen`, or with `look` give each to it as it arrives.

        What changes something goes on no faster than this on each connection.
        """
        parts = urlsplit(url)
        self._server = (parts.hostname or "", parts.port or 0)
        self._redis = redis
        self._lock = threading.Lock()
        self.seen: list[Seen] = []
        self._look = look or self._remember
        self._bytes_per_s = bytes_per_s
        self.url = ""
        """Where it listens, once it does."""
        self.kept_back = threading.Event()
        """Whether a request is kept back."""
        self._keeps: Callable[[Seen], bool] = lambda seen: False
        self._released = threading.Event()
        self._dropping = False
        self._sockets: list[socket.socket] = []

    def keep_back(self, chosen: Callable[[Seen], bool]) -> None:
        """From the first chosen request of a child on, each of its requests that changes something is kept back."""
        self._keeps = chosen

    def release(self, *, drop: bool = False) -> None:
        """What is kept back goes on, or with `drop` is lost with its connection; nothing more is kept back."""
        self._dropping = drop
        self._keeps = lambda seen: False
        self._released.set()

    def changes(self) -> list[Seen]:
        """Return the requests that change something, whoever sent them."""
        with self._lock:
            return [seen for seen in self.seen if seen.changes]

    def changes_since(self, at: float) -> list[Seen]:
        """Return the requests of children that change something and arrived later than this."""
        with self._lock:
            return [seen for seen in self.seen if seen.changes and seen.by_child and seen.at > at]

    def serve(self, listener: socket.socket) -> None:
        """Relay each connection until the listener is shut down."""
        while True:
            try:
                near, peer = listener.accept()
            except OSError:
                return  # The test is over.
            far = socket.create_connection(self._server)
            self._sockets.extend((near, far))
            arrived: SimpleQueue[Seen | None] = SimpleQueue()
            by_child = _is_of_child(peer[1])
            for work, arguments in (
                (self._read, (near, by_child, peer[0], arrived)),
                (self._send, (arrived, near, far)),
                (_copy, (far, near)),
            ):
                threading.Thread(target=work, args=arguments, daemon=True).start()

    def close(self) -> None:
        """All connections are closed."""
        self._released.set()
        for one in self._sockets:
            _end(one)
            one.close()

    def _is_kept(self, seen: Seen) -> bool:
        if not (seen.changes and seen.by_child) or self._released.is_set():
            return False
        return self.kept_back.is_set() or self._keeps(seen)

    def _remember(self, seen: Seen) -> None:
        with self._lock:
            self.seen.append(seen)

    def _read(self, near: socket.socket, by_child: bool, sender: str, arrived: SimpleQueue[Seen | None]) -> None:
        waiting = b""
        began = 0.0
        try:
            while data := near.recv(1 << 20):
                if not waiting:
                    began = time.monotonic()
                waiting += data
                while length := (_redis_length if self._redis else _http_length)(waiting):
                    request, waiting = waiting[:length], waiting[length:]
                    changes = _changes(request, redis=self._redis)
                    seen = Seen(time.monotonic(), began, by_child, sender, changes, request)
                    self._look(seen)
                    arrived.put(seen)
                    began = time.monotonic()
        except OSError:
            pass
        arrived.put(None)

    def _send(self, arrived: SimpleQueue[Seen | None], near: socket.socket, far: socket.socket) -> None:
        with suppress(OSError):
            while seen := arrived.get():
                if self._is_kept(seen):
                    self.kept_back.set()
                    self._released.wait()
                    if self._dropping:
                        break
                if seen.changes:
                    time.sleep(len(seen.data) / self._bytes_per_s)
                far.sendall(seen.data)
        _end(near)
        _end(far)


@contextmanager
def relaying(
    url: str,
    *,
    redis: bool = False,
    at: tuple[str, int] = ("127.0.0.1", 0),
    look: Callable[[Seen], object] | None = None,
    bytes_per_s: float = float("inf"),
) -> Iterator[Relay]:
    """Give a relay to the server at the URL, which listens at the address and port; see `Relay` for the rest."""
    relay = Relay(url, redis=redis, look=look, bytes_per_s=bytes_per_s)
    with socket.create_server(at) as listener:
        parts = urlsplit(url)
        relay.url = f"{parts.scheme}://{at[0]}:{listener.getsockname()[1]}{parts.path}"
        with serving(relay, listener):
            yield relay


class Serving(Protocol):
    """A relay."""

    def serve(self, listener: socket.socket) -> None:
        """Relay the connections of the listener until it is shut down."""

    def close(self) -> None:
        """End the connections."""


@contextmanager
def serving(relay: Serving, listener: socket.socket) -> Iterator[None]:
    """The relay serves the listener during the body, and has ended afterwards."""
    thread = threading.Thread(target=relay.serve, args=(listener,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        relay.close()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(data)
    _end(source)
    _end(sink)


def _end(one: socket.socket) -> None:
    with suppress(OSError):  # Ended already.
        one.shutdown(socket.SHUT_RDWR)


def _is_of_child(port: int) -> bool:
    """Return whether a child process has this local port."""
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if any(each.laddr and each.laddr.port == port for each in child.net_connections("tcp")):
                return True
    return False


def _http_length(data: bytes) -> int:
    """Return the length of the first request, 0 while it has not arrived whole."""
    head, end, _ = data.partition(b"\r\n\r\n")
    if not end:
        return 0
    found = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    length = len(head) + 4 + (int(found[1]) if found else 0)
    return length if len(data) >= length else 0


def _redis_length(data: bytes) -> int:
    """Return the length of all commands that have arrived whole: those that came together are one request."""
    done = 0
    while (length := _command(data, done)[0]) > done:
        done = length
    return done


def _command(data: bytes, start: int) -> tuple[int, bytes]:
    """Return where the command that begins here ends, and its name; its beginning if it has not arrived whole."""
    end = data.find(b"\r\n", start)
    if end < 0 or data[start : start + 1] != b"*":
        return start, b""
    at, parts = end + 2, []
    for _ in range(int(data[start + 1 : end])):
        end = data.find(b"\r\n", at)
        if end < 0:
            return start, b""
        length = int(data[at + 1 : end])
        parts.append(data[end + 2 : end + 2 + length])
        at = end + 2 + length + 2
        if at > len(data):
            return start, b""
    return at, parts[0].upper()


def _changes(request: bytes, *, redis: bool) -> bool:
    if not redis:
        return not (_READING_HTTP.match(request) or _READING_AWS.search(request.partition(b"\r\n\r\n")[0]))
    at = 0
    while at < len(request):
        at, name = _command(request, at)
        if name not in _READING_REDIS:
            return True
    return False
