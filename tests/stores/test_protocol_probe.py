"""A port that speaks TLS is told from one that does not, and either from one that says nothing or is closed."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import pytest
from certificates import Authority
from tls_relay import saying, tls_relays

from flows.demo.servers import free_port
from stores.protocol_probe import PlainQuestion, tls_mismatch

PING = PlainQuestion(b"PING\r\n", lambda answer: answer.startswith((b"+", b"-")))


@pytest.mark.parametrize("encrypted", [True, False])
def test_only_a_mismatch_is_told(redis_url: str, tmp_path: Path, encrypted: bool) -> None:
    plain = urlsplit(redis_url).port or 0
    with tls_relays(plain, Authority(tmp_path)) as relays, saying(b"") as mute, saying(b"-ERR busy\r\n") as refusing:
        ports = {**relays, "mute": mute, "plain": plain, "refusing": refusing, "none": free_port()}
        faults = {name: tls_mismatch("127.0.0.1", port, PING, encrypted=encrypted) for name, port in ports.items()}
    kinds = {name: None if fault is None else fault.kind for name, fault in faults.items()}
    of_tls = None if encrypted else "wants_tls"
    of_plain = "no_tls" if encrypted else None
    assert kinds == {
        **dict.fromkeys(("tls", "other_host", "expired", "mutual"), of_tls),
        **dict.fromkeys(("plain", "refusing"), of_plain),
        **dict.fromkeys(("mute", "none")),
    }
