"""Shared clients: one for each key, made for the first user and closed after the last."""

from __future__ import annotations

import pytest
from waiting import until

from stores.sharing import Sharing


class Client:
    """A client that knows whether it was closed."""

    closed = False

    def close(self) -> None:
        """Note it."""
        self.closed = True


def test_users_of_one_key_share_a_client_until_the_last_is_done() -> None:
    sharing: Sharing[Client] = Sharing()
    with sharing.use("a", Client) as outer:
        with sharing.use("a", Client) as inner, sharing.use("b", Client) as other:
            assert inner is outer
            assert other is not outer
        assert (outer.closed, other.closed) == (False, True)
    assert outer.closed
    with sharing.use("a", Client) as later:
        assert later is not outer


def test_an_error_in_the_body_closes_it_too() -> None:
    sharing: Sharing[Client] = Sharing()
    used: list[Client] = []

    def fail() -> None:
        with sharing.use("a", Client) as client:
            used.append(client)
            raise ValueError

    with pytest.raises(ValueError):
        fail()
    assert used[0].closed


def test_a_client_that_cannot_be_made_is_made_for_the_next_user() -> None:
    sharing: Sharing[Client] = Sharing()

    def refuse() -> Client:
        raise OSError

    with pytest.raises(OSError), sharing.use("a", refuse):
        pass
    with sharing.use("a", Client) as client:
        assert not client.closed


def test_a_client_that_is_kept_is_used_again_and_closed_some_time_after_its_last_user() -> None:
    sharing: Sharing[Client] = Sharing()
    sharing.keep(1000)
    with sharing.use("a", Client) as first:
        pass
    with sharing.use("a", Client) as again, sharing.use("a", Client):
        assert again is first
    assert not first.closed
    sharing.keep(0.01)
    with sharing.use("a", Client) as again:
        assert again is first
    until(lambda: first.closed, "client closed")
    with sharing.use("a", Client) as later:
        assert later is not first


def test_a_kept_client_that_is_not_usable_any_more_is_made_anew() -> None:
    sharing: Sharing[Client] = Sharing()
    sharing.keep(1000)
    with sharing.use("a", Client) as first:
        pass
    with sharing.use("a", Client, lambda _: False) as second, sharing.use("a", Client, lambda _: False) as same:
        assert second is not first
        assert same is second  # It is in use, and not asked.
    assert first.closed
