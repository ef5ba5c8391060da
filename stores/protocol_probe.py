"""Whether a port speaks TLS: asked where a connection failed, as one of the two sides then waits for the other's bytes.

A server without TLS takes a TLS handshake for a request that is not whole yet, and says nothing or hangs up. A server
with TLS hangs up on anything else. Neither tells the client why.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from stores.connection_faults import ConnectionFault, Kind, fault_of

_WITHIN_S: Final = 3.0
"""How long a connection may take, and then each answer."""
_ANSWER_BYTES: Final = 64
_SUSPECT: Final[frozenset[Kind | None]] = frozenset((None, "hang_up", "timeout", "tls"))
"""What the wrong one of the two looks like; None where the driver's text tells nothing."""


@dataclass(frozen=True, slots=True)
class PlainQuestion:
    """What a server without TLS answers."""

    question: bytes
    is_answer: Callable[[bytes], bool]
    """Whether these first bytes of an answer are the protocol's."""


class TlsCheck:
    """Whether servers speak TLS where their client does, each server asked once."""

    def __init__(self, plain: PlainQuestion, *, encrypted: bool) -> None:
        """Ask nobody yet; `encrypted` is whether the client speaks TLS."""
        self._plain = plain
        self._encrypted = encrypted
        self._known: dict[tuple[str, int], ConnectionFault | None] = {}

    def explain(self, fault: ConnectionFault | None, host: str, port: int) -> ConnectionFault | None:
        """Return that only one of client and server speaks TLS, where that made the fault; else the fault as it is."""
        if not suspect(fault):
            return fault
        at = (host, port)
        if at not in self._known:
            self._known[at] = None  # Nobody else asks meanwhile.
            self._known[at] = tls_mismatch(host, port, self._plain, encrypted=self._encrypted)
        return self._known[at] or fault


def suspect(fault: ConnectionFault | None) -> bool:
    """Return whether a failed connection may be one of TLS to a server without it, or the reverse."""
    return (None if fault is None else fault.kind) in _SUSPECT


def tls_mismatch(host: str, port: int, plain: PlainQuestion, *, encrypted: bool) -> ConnectionFault | None:
    """Return that the server speaks TLS where the client does not, or the reverse; None if neither shows in seconds."""
    if encrypted:
        return fault_of("no_tls") if not _speaks_tls(host, port) and _answers(host, port, plain) else None
    return fault_of("wants_tls") if not _answers(host, port, plain) and _speaks_tls(host, port) else None


def _speaks_tls(host: str, port: int) -> bool:
    """Return whether the port takes part in a handshake, whatever its certificate; one that it refuses is one too."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # Nothing is sent but the handshake.
    try:
        with socket.create_connection((host, port), _WITHIN_S) as plain, context.wrap_socket(plain):
            return True
    except ssl.SSLError as error:
        return "ALERT" in (error.reason or "")
    except OSError:
        return False


def _answers(host: str, port: int, plain: PlainQuestion) -> bool:
    try:
        with socket.create_connection((host, port), _WITHIN_S) as connection:
            connection.sendall(plain.question)
            return plain.is_answer(connection.recv(_ANSWER_BYTES))
    except OSError:
        return False
