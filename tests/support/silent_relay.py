"""A relay before a server that can fall silent: connections stay open and are accepted, and nothing passes any more."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

_CHUNK_BYTES = 1 << 16


class SilentRelay:
    """The relay, as long as it is open."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.passing = threading.Event()
        """Cleared for silence; what came meanwhile passes once it is set again."""
        self.passing.set()
        self.withheld = threading.Event()
        """Set once something was to pass during a silence."""

    def silence(self) -> None:
        """Nothing passes from now on."""
        self.passing.clear()


@contextmanager
def silent_relay(url: str) -> Iterator[tuple[str, SilentRelay]]:
    """Give the URL of a relay to the MongoDB at this URL, for a driver that asks no other member, and the relay."""
    parts = urlsplit(url)
    sockets: list[socket.socket] = []

    def pass_on(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(_CHUNK_BYTES):
                if not relay.passing.is_set():
                    relay.withheld.set()
                    relay.passing.wait()
                sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def accept() -> None:
        while True:
            try:
                near = listener.accept()[0]
            except OSError:
                return  # The test is over.
            far = socket.create_connection((parts.hostname or "", parts.port or 0))
            sockets.extend((near, far))
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=pass_on, args=(source, sink), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        relay = SilentRelay(listener.getsockname()[1])
        accepting = threading.Thread(target=accept, daemon=True)
        accepting.start()
        try:
            yield f"mongodb://127.0.0.1:{relay.port}/?directConnection=true", relay
        finally:
            relay.passing.set()
            listener.shutdown(socket.SHUT_RDWR)
            accepting.join()
            for each in sockets:
                each.close()
