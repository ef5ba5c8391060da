"""The texts of drivers, as they were seen, and the fault that each speaks of."""

from __future__ import annotations

import pytest

from stores.connection_faults import connection_fault

VERIFY = "127.0.0.1:9: [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: "


@pytest.mark.parametrize(
    ("text", "kind", "passes"),
    [
        # pymongo appends its own options to each text, which speak of timeouts.
        ("h:1: [Errno 111] Connection refused (configured timeouts: socketTimeoutMS: 1000.0ms)", "closed_port", True),
        ("h:1: connection closed (configured timeouts: connectTimeoutMS: 1000.0ms)", "hang_up", True),
        ("h:1: timed out (configured timeouts: connectTimeoutMS: 1000.0ms)", "timeout", True),
        ("h:1: [Errno -2] Name or service not known", "unknown_host", True),
        ("[Errno -3] Temporary failure in name resolution", "name_service", True),
        ("[Errno 113] No route to host", "no_route", True),
        ("h:1: [Errno 104] Connection reset by peer", "hang_up", True),
        ("[SSL: UNEXPECTED_EOF_WHILE_READING] EOF occurred in violation of protocol (_ssl.c:1006)", "hang_up", True),
        ("SSL handshake failed: h:1: [SSL: WRONG_VERSION_NUMBER] wrong version number", "no_tls", False),
        ("[SSL: RECORD_LAYER_FAILURE] record layer failure (_ssl.c:1006)", "no_tls", False),
        (VERIFY + "Hostname mismatch, certificate is not valid for 'localhost'. (_ssl.c:1006)", "other_host", False),
        (VERIFY + "IP address mismatch, certificate is not valid for '127.0.0.1'.", "other_host", False),
        (VERIFY + "certificate has expired (_ssl.c:1006)", "expired", False),
        (VERIFY + "certificate is not yet valid (_ssl.c:1006)", "expired", False),
        (VERIFY + "unable to get local issuer certificate (_ssl.c:1006)", "untrusted", False),
        (VERIFY + "self-signed certificate (_ssl.c:1006)", "untrusted", False),
        ("[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED] tlsv13 alert certificate required", "client_certificate", False),
        ("[SSL: TLSV1_ALERT_UNKNOWN_CA] tlsv1 alert unknown ca (_ssl.c:2580)", "client_certificate", False),
        ("[SSL: SSLV3_ALERT_HANDSHAKE_FAILURE] sslv3 alert handshake failure", "tls", True),
        # The driver of Redis, the HTTP layers.
        ("Error 111 connecting to 127.0.0.1:1. Connection refused.", "closed_port", True),
        ("Connection closed by server.", "hang_up", True),
        ("Timeout connecting to server", "timeout", True),
        ('Connection was closed before we received a valid response from endpoint URL: "http://h/".', "hang_up", True),
        ('Connect timeout on endpoint URL: "https://dynamodb.eu-west-1.amazonaws.com/"', "timeout", True),
        (
            "('Connection aborted.', RemoteDisconnected('Remote end closed connection without response'))",
            "hang_up",
            True,
        ),
    ],
)
def test_the_fault_is_read_from_the_drivers_text(text: str, kind: str, passes: bool) -> None:
    fault = connection_fault(text)
    assert fault is not None
    assert (fault.kind, fault.passes) == (kind, passes)


def test_a_text_without_such_words_is_no_fault_of_a_connection() -> None:
    assert connection_fault("ns does not exist") is None
