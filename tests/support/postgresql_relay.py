"""A relay before a PostgreSQL that cuts a connection around its next COMMIT."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Literal

from relay import serving

Cut = Literal["before", "after", "unnoticed"]
"""Before the server gets it; after it was committed, and before the client hears of it; or so that the server does not
notice, with the transaction still open there."""

_COMMIT = b"Q\x00\x00\x00\x0bCOMMIT\x00"


class CommitRelay:
    """The relay, as long as it is open."""

    def __init__(self, server: int) -> None:
        self._server = server
        self.port = 0
        self.next_commit: Cut | None = None
        """How the connection that sends the next COMMIT is cut; only that one is."""
        self.cuts = 0
        self._sockets: list[socket.socket] = []

    def serve(self, listener: socket.socket) -> None:
        """Relay each connection until the listener is shut down."""
        while True:
            try:
                near = listener.accept()[0]
            except OSError:
                return  # The test is over.
            far = socket.create_connection(("127.0.0.1", self._server))
            self._sockets += [near, far]
            threading.Thread(target=self._ask, args=(near, far), daemon=True).start()

    def close(self) -> None:
        """All connections are closed."""
        for each in self._sockets:
            _end(each)
            each.close()

    def _ask(self, near: socket.socket, far: socket.socket) -> None:
        withheld = threading.Event()
        threading.Thread(target=self._answer, args=(near, far, withheld), daemon=True).start()
        with suppress(OSError):
            while data := near.recv(1 << 16):
                if data == _COMMIT and self.next_commit is not None:
                    cut, self.next_commit = self.next_commit, None
                    self.cuts += 1
                    if cut == "after":
                        withheld.set()
                        far.sendall(data)
                        return
                    _end(near)
                    if cut == "before":
                        _end(far)
                    return
                far.sendall(data)
        _end(far)

    def _answer(self, near: socket.socket, far: socket.socket, withheld: threading.Event) -> None:
        with suppress(OSError):
            while data := far.recv(1 << 16):
                if withheld.is_set():
                    break
                near.sendall(data)
        _end(near)


@contextmanager
def commit_relay(server: int) -> Iterator[CommitRelay]:
    """Give a relay to the server at this port."""
    relay = CommitRelay(server)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        relay.port = listener.getsockname()[1]
        with serving(relay, listener):
            yield relay


def _end(one: socket.socket) -> None:
    with suppress(OSError):  # Ended already.
        one.shutdown(socket.SHUT_RDWR)
