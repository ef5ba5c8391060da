"""A relay before a Redis that cuts connections, and waiting for what a Redis does."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

from stores.redis.target import RedisTarget

LATER = 4_102_444_800_123
"""A millisecond in the year 2100."""
WITHIN_S = 20.0


def eventually(condition: Callable[[], bool]) -> None:
    """Wait until the condition holds; fails the test if it does not in time."""
    give_up = time.monotonic() + WITHIN_S
    while not condition():
        assert time.monotonic() < give_up, "the condition did not come true"
        threading.Event().wait(0.01)


def round_trips(target: RedisTarget, records: Sequence[Any]) -> None:
    """Every record is taken and read back as it was."""
    assert target.write(records) == []
    held = target.read([record.address for record in records])
    assert {at: record.canonical() for at, record in held.items()} == {
        record.address: record.canonical() for record in records
    }


@contextmanager
def cutting(url: str, *allowances: int) -> Iterator[tuple[str, list[int]]]:
    """Give the URL of a relay to the server, and what it let pass of replies, by connection.

    The first connection is closed after so many bytes of replies, the second likewise, and so on; later ones live.
    """
    parts = urlsplit(url)
    passed: list[int] = []
    sockets: list[socket.socket] = []

    def relay(source: socket.socket, sink: socket.socket, number: int | None) -> None:
        try:
            while data := source.recv(65536):
                if number is not None:
                    left = allowances[number] - passed[number] if number < len(allowances) else len(data)
                    sink.sendall(data[:left])
                    passed[number] += min(left, len(data))
                    if left < len(data):
                        break
                else:
                    sink.sendall(data)
        except OSError:
            pass  # The other direction was cut.
        for end in (source, sink):
            with suppress(OSError):  # Closed already.
                end.shutdown(socket.SHUT_RDWR)

    def accept(listener: socket.socket) -> None:
        while True:
            try:
                near = listener.accept()[0]
            except OSError:
                return  # The test is over.
            far = socket.create_connection((parts.hostname or "", parts.port or 0))
            sockets.extend((near, far))
            passed.append(0)
            threading.Thread(target=relay, args=(near, far, None), daemon=True).start()
            threading.Thread(target=relay, args=(far, near, len(passed) - 1), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=accept, args=(listener,), daemon=True)
        thread.start()
        try:
            yield f"redis://127.0.0.1:{listener.getsockname()[1]}/0", passed
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            for one in sockets:
                one.close()
