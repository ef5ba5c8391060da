"""Why a connection could not be made or did not last, read from the text of a driver's error.

Every driver passes on the words of the operating system and of OpenSSL, most of them as text only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "closed_port",
    "unknown_host",
    "name_service",
    "no_route",
    "timeout",
    "hang_up",
    "no_tls",
    "wants_tls",
    "untrusted",
    "other_host",
    "expired",
    "client_certificate",
    "file",
    "tls",
]


@dataclass(frozen=True, slots=True)
class ConnectionFault:
    """What is wrong with a connection."""

    kind: Kind
    cause: str
    """The fault in words, without host or port."""
    passes: bool
    """Whether the same connection may succeed later with nobody having changed anything."""


_CAUSES: Mapping[Kind, str] = {
    "closed_port": "connection refused: nothing listens on this port",
    "unknown_host": "the host name is unknown",
    "name_service": "the name service does not answer",
    "no_route": "there is no route to the host",
    "timeout": "no answer in time",
    "hang_up": "the server closed the connection",
    "no_tls": "the server does not speak TLS on this port",
    "wants_tls": "the server speaks TLS on this port, and nothing else",
    "untrusted": "its certificate is signed by no authority that is trusted here",
    "other_host": "its certificate is for another host name",
    "expired": "its certificate has expired or is not valid yet",
    "client_certificate": "the server demands a client certificate, or refuses the one that it gets",
    "file": "a file of certificates or keys cannot be used",
    "tls": "the TLS handshake failed",
}
_LASTING: frozenset[Kind] = frozenset(
    ("no_tls", "wants_tls", "untrusted", "other_host", "expired", "client_certificate", "file")
)

# In this order: the text of a certificate that does not match also says that the verification failed.
_WORDS: tuple[tuple[str, Kind], ...] = (
    ("hostname mismatch", "other_host"),
    ("ip address mismatch", "other_host"),
    ("doesn't match", "other_host"),
    ("certificate has expired", "expired"),
    ("certificate is not yet valid", "expired"),
    ("certificate_required", "client_certificate"),
    ("certificate required", "client_certificate"),
    ("alert_bad_certificate", "client_certificate"),
    ("alert bad certificate", "client_certificate"),
    ("alert_unknown_ca", "client_certificate"),
    ("alert unknown ca", "client_certificate"),
    ("alert certificate", "client_certificate"),
    ("certificate verify failed", "untrusted"),
    ("certificate_verify_failed", "untrusted"),
    ("wrong_version_number", "no_tls"),
    ("wrong version number", "no_tls"),
    ("record layer failure", "no_tls"),
    ("record_layer_failure", "no_tls"),
    ("packet_length_too_long", "no_tls"),
    ("packet length too long", "no_tls"),
    ("http_request", "no_tls"),
    ("no certificate or crl found", "file"),
    ("key_values_mismatch", "file"),
    ("pem lib", "file"),
    ("name or service not known", "unknown_host"),
    ("no address associated with hostname", "unknown_host"),
    ("nodename nor servname provided", "unknown_host"),
    ("temporary failure in name resolution", "name_service"),
    ("connection refused", "closed_port"),
    ("no route to host", "no_route"),
    ("network is unreachable", "no_route"),
    ("timed out", "timeout"),
    ("timeout connecting", "timeout"),
    ("timeout reading", "timeout"),
    ("timeout on endpoint", "timeout"),
    ("unexpected_eof", "hang_up"),
    ("eof occurred", "hang_up"),
    ("reset by peer", "hang_up"),
    ("broken pipe", "hang_up"),
    ("connection closed", "hang_up"),
    ("connection aborted", "hang_up"),
    ("closed by server", "hang_up"),
    ("connection was closed", "hang_up"),
    ("remote end closed", "hang_up"),
    ("badstatusline", "hang_up"),
    ("ssl", "tls"),
)


def connection_fault(text: str) -> ConnectionFault | None:
    """Return the fault that the text of a driver's error speaks of; None for a text without such words."""
    lower = text.lower()
    kind = next((kind for words, kind in _WORDS if words in lower), None)
    return None if kind is None else fault_of(kind)


def fault_of(kind: Kind) -> ConnectionFault:
    """Return the fault of this kind."""
    return ConnectionFault(kind, _CAUSES[kind], kind not in _LASTING)
