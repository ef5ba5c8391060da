"""What has changed in a route since its run began, in the words of its plan: keys and values, without secrets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_NESTED = ("options", "placement")
"""Parts of a fingerprint that hold keys of the route."""
_SECRET = ("scrypt:", "sha256:")
_WORDS: Mapping[str, str] = {
    "database": "source.database",
    "server": "the server of its target",
    "territory": "its place in the target",
    "projection": "the form of the records that this version of offramp makes",
    "mapper file": "the content of the file in `use`",
}
"""What a part of a fingerprint is called that is no key of the route."""
_WITHOUT_VALUES = ("projection", "mapper file")


def changed_keys(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return a phrase for each key of the plan that differs between two fingerprints of a route, in order of names.

    The place that follows from the keys is named only where none of them has changed.
    """
    old, new = dict(_flat(before)), dict(_flat(now))
    changed = [name for name in sorted({*old, *new}) if old.get(name) != new.get(name)]
    if len(changed) > 1:
        changed = [name for name in changed if name != "territory"]
    return [_phrase(name, old.get(name), new.get(name)) for name in changed]


def _flat(fingerprint: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    # The options come last, whatever the order on record: of a key that is in the placement too they have the value
    # that decides, such as the rule of a TTL index where the placement says from_index.
    for name, value in sorted(fingerprint.items(), key=lambda item: item[0] == "options"):
        if name in _NESTED and isinstance(value, Mapping):
            yield from value.items()
        else:
            yield name, value


def _phrase(name: str, before: Any, now: Any) -> str:
    words = _WORDS.get(name, name)
    if name in _WITHOUT_VALUES or any(isinstance(value, str) and value.startswith(_SECRET) for value in (before, now)):
        return f"{words} has changed"
    return f"{words} was {_value(before)}, is {_value(now)}"


def _value(value: Any) -> str:
    return "not set" if value is None else repr(value)
