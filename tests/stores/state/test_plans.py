"""Versions of a plan on record: each content once, never another than its digest names, and the latest ones only."""

from __future__ import annotations

from collections.abc import Callable

from states import execute, rows

from stores.state.plans import MOST_VERSIONS, digest_of
from stores.state.state import State


def kept(url: str) -> tuple[int, int]:
    """Return how many versions and how many contents are on record."""
    (versions,) = rows(url, "SELECT count(*) FROM plans")[0]
    (contents,) = rows(url, "SELECT count(*) FROM plan_contents")[0]
    assert isinstance(versions, int)
    assert isinstance(contents, int)
    return versions, contents


def test_what_is_registered_again_adds_nothing(state: State, url: str) -> None:
    digest = state.plans.register(b"manifest", [b"text", b"mapper"])
    assert digest == digest_of(b"manifest")
    assert kept(url) == (1, 3)
    assert state.plans.register(b"manifest", [b"text", b"mapper"]) == digest
    assert kept(url) == (1, 3)
    state.plans.register(b"second manifest", [b"text", b"mapper, edited"])
    assert kept(url) == (2, 5)
    wanted = [digest, digest_of(b"text"), digest_of(b"mapper"), digest_of(b"nothing of it")]
    assert state.plans.contents(wanted) == {digest_of(each): each for each in (b"manifest", b"text", b"mapper")}


def test_a_content_that_was_altered_is_not_given_until_it_is_registered_again(state: State, url: str) -> None:
    digest = state.plans.register(b"manifest", [b"text"])
    binary = "BLOB" if url.startswith("sqlite") else "BYTEA"
    execute(url, f"UPDATE plan_contents SET content = CAST('other' AS {binary}) WHERE digest = '{digest_of(b'text')}'")
    assert state.plans.contents([digest, digest_of(b"text")]) == {digest: b"manifest"}
    state.plans.register(b"manifest", [b"text"])
    assert state.plans.contents([digest_of(b"text")]) == {digest_of(b"text"): b"text"}


def test_only_the_versions_that_were_used_last_are_kept(opened: Callable[..., State], url: str) -> None:
    other = opened("other")
    other.plans.register(b"manifest 0", [b"shared", b"text 0"])
    state = opened("shop")
    for number in range(MOST_VERSIONS):
        state.plans.register(b"manifest %d" % number, [b"shared", b"text %d" % number])
    state.plans.register(b"manifest 0", [b"shared", b"text 0"])  # Used again, so that the next one is the oldest.
    state.plans.register(b"new manifest", [b"shared", b"new text"])
    contents = [b"manifest 0", b"text 0", b"manifest 1", b"text 1", b"manifest 2", b"text 2", b"shared", b"new text"]
    found = state.plans.contents(map(digest_of, contents))
    assert {*found.values()} == {*contents} - {b"manifest 1", b"text 1"}
    assert kept(url) == (MOST_VERSIONS + 1, 2 * MOST_VERSIONS + 1 + 3)
    assert len(other.plans.contents(map(digest_of, [b"manifest 0", b"shared", b"text 0"]))) == 3
