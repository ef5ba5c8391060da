"""Which hosts are this machine, by their form."""

from __future__ import annotations

import pytest

from stores.transport_security import is_this_machine, unchecked, unencrypted, unprotected_host


@pytest.mark.parametrize("host", ["localhost", "db.localhost", "127.0.0.1", "127.8.8.8", "::1", "[::1]"])
def test_loopback_is_this_machine(host: str) -> None:
    assert is_this_machine(host)


@pytest.mark.parametrize(
    "host", ["", "10.0.0.1", "0.0.0.0", "db.example", "localhost.example", "::2", "127.0.0.1.x.io"]
)
def test_anything_else_is_not(host: str) -> None:
    assert not is_this_machine(host)


def test_only_plain_http_to_another_machine_is_unprotected() -> None:
    assert unprotected_host("http://user:secret@search.example:9200/x") == "search.example"
    assert unprotected_host("https://search.example") is None
    assert unprotected_host("http://localhost:9200") is None


def test_notes_name_the_place_and_the_remedy() -> None:
    for note in (unencrypted("redis at h:1", "write rediss://"), unchecked("redis at h:1", "write rediss://")):
        assert "redis at h:1" in note
        assert "write rediss://" in note
