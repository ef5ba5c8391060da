"""A server that speaks TLS and passes what it gets on to one that does not; and one that says a fixed text."""

from __future__ import annotations

import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from certificates import Authority, Certificate

_CHUNK_BYTES = 1 << 16


@contextmanager
def tls_relay(
    upstream: int,
    certificate: Certificate,
    *,
    clients: Path | None = None,
    at: tuple[str, int] = ("127.0.0.1", 0),
    from_sender: bool = False,
) -> Iterator[int]:
    """Give the port of a TLS server in front of this port; `clients` is the authority of the clients it demands.

    With `from_sender` the upstream sees who connected: a client at 10.1.2.3 comes to it from 127.1.2.3.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.certificate, certificate.key)
    if clients is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(clients)

    def serve(plain: socket.socket) -> None:
        with context.wrap_socket(plain, server_side=True, do_handshake_on_connect=False) as near:
            try:
                near.do_handshake()
            except ssl.SSLError:
                _let_read(near)
                return
            sender = ("127." + near.getpeername()[0].partition(".")[2], 0) if from_sender else None
            with socket.create_connection(("127.0.0.1", upstream), source_address=sender) as far:
                _pass_on(near, far)

    with _serving(serve, at) as port:
        yield port


@contextmanager
def saying(text: bytes) -> Iterator[int]:
    """Give the port of a server that answers whatever it gets with this text and hangs up; nothing for an empty one."""

    def serve(connection: socket.socket) -> None:
        with connection:
            connection.recv(_CHUNK_BYTES)
            connection.sendall(text)

    with _serving(serve) as port:
        yield port


@contextmanager
def tls_relays(upstream: int, authority: Authority) -> Iterator[dict[str, int]]:
    """Give the ports of TLS servers in front of this port, by what is wrong with them; nothing with `tls`.

    `mutual` demands a client certificate of the authority.
    """
    good = authority.certificate("server")
    with ExitStack() as running:
        yield {
            "tls": running.enter_context(tls_relay(upstream, good)),
            "other_host": running.enter_context(
                tls_relay(upstream, authority.certificate("other", hosts=["other.example"]))
            ),
            "expired": running.enter_context(tls_relay(upstream, authority.certificate("expired", days=-1))),
            "mutual": running.enter_context(tls_relay(upstream, good, clients=authority.file)),
        }


@contextmanager
def _serving(serve: Callable[[socket.socket], None], at: tuple[str, int] = ("127.0.0.1", 0)) -> Iterator[int]:
    def once(connection: socket.socket) -> None:
        with suppress(OSError):  # A client that does not like the certificate hangs up.
            serve(connection)

    def accept() -> None:
        while True:
            try:
                connection = listener.accept()[0]
            except OSError:  # Closed: the block has ended.
                return
            threading.Thread(target=once, args=(connection,), daemon=True).start()

    with socket.create_server(at) as listener:
        accepting = threading.Thread(target=accept, daemon=True)
        accepting.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            accepting.join()


def _pass_on(near: ssl.SSLSocket, far: socket.socket) -> None:
    """Pass everything on in both directions until one side ends; in one thread, as OpenSSL wants it."""
    while True:
        for source in [near] if near.pending() else select.select([near, far], [], [])[0]:
            chunk = source.recv(_CHUNK_BYTES)
            if not chunk:
                return
            (far if source is near else near).sendall(chunk)


def _let_read(refused: ssl.SSLSocket) -> None:
    """Let the client read why it is refused: a socket closed with something unread in it drops what it sent."""
    with suppress(OSError):
        plain = socket.socket(fileno=refused.detach())
        with plain:
            plain.shutdown(socket.SHUT_WR)
            while plain.recv(_CHUNK_BYTES):
                pass
