"""Shared clients: one for each key, made for the first user and closed after the last."""

from __future__ import annotations

import pytest

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
