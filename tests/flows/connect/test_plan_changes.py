"""A changed plan is told in its own keys: no part of a fingerprint's inner form, and no secret, reaches the message."""

from __future__ import annotations

from typing import Any

import pytest

from flows.connect.plan_changes import changed_keys

BEFORE: dict[str, Any] = {
    "projection": 3,
    "fields.drop": [],
    "mapper file": "aa",
    "options": {"key": "a:{_id}", "ttl_s": None, "salt": "sha256:11"},
    "placement": {"table": "orders"},
    "server": ["redis://one"],
    "territory": "orders",
}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, []),
        ({"fields.drop": ["b"]}, ["fields.drop was [], is ['b']"]),
        ({"options": {**BEFORE["options"], "key": "b:{_id}"}}, ["key was 'a:{_id}', is 'b:{_id}'"]),
        ({"options": {**BEFORE["options"], "ttl_s": 60}}, ["ttl_s was not set, is 60"]),
        ({"options": {**BEFORE["options"], "salt": "sha256:22"}}, ["salt has changed"]),
        ({"placement": {"table": "other"}, "territory": "other"}, ["table was 'orders', is 'other'"]),
        ({"territory": "other"}, ["its place in the target was 'orders', is 'other'"]),
        ({"server": ["redis://two"]}, ["the server of its target was ['redis://one'], is ['redis://two']"]),
        ({"mapper file": "bb"}, ["the content of the file in `use` has changed"]),
        ({"projection": 4}, ["the form of the records that this version of offramp makes has changed"]),
        ({"target": "redis"}, ["target was not set, is 'redis'"]),
    ],
)
def test_each_change_is_named_by_its_key_of_the_plan(changes: dict[str, Any], words: list[str]) -> None:
    assert changed_keys(BEFORE, BEFORE | changes) == words


def test_a_key_of_placement_and_options_is_the_same_in_any_order() -> None:
    parts = {"placement": {"expires": "from_index"}, "options": {"expires": {"field": "at", "after_seconds": 5}}}
    stored = dict(sorted(parts.items()))  # As the state keeps it.
    assert list(stored) != list(parts)
    assert changed_keys(stored, parts) == []
    later = parts | {"options": {"expires": {"field": "at", "after_seconds": 6}}}
    (change,) = changed_keys(stored, later)
    assert change.startswith("expires was")
