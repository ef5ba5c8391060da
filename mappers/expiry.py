"""When a record expires: at a date of its document, or some time after it, as a TTL index of MongoDB would have it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bson import DBRef
from bson.datetime_ms import DatetimeMS

from mappers.contract import Document
from mappers.values import milliseconds

FROM_INDEX = "from_index"
"""What a route says in `expires` where the TTL indexes of its collection decide."""
_LATEST_MS = 2**63 - 1
LONGEST_S = 2**31 - 1
"""What `expireAfterSeconds` of a TTL index can be at most."""


@dataclass(frozen=True)
class Expires:
    """A date field, and how long after it a record expires."""

    field: str
    """The date field; of an array the earliest date counts, and what holds no date never expires."""
    after_seconds: int = 0
    """Seconds from that date on, as `expireAfterSeconds` of a TTL index."""


@dataclass(frozen=True)
class IndexExpires(Expires):
    """What `from_index` came to: the rule of the one TTL index, or of the first of several."""

    others: tuple[Expires, ...] = ()
    """The rules of the other TTL indexes: the earliest moment of all counts."""


def rules(expires: str | Expires | None) -> Sequence[Expires]:
    """Return the rules an option stands for, none for `from_index`; raises ValueError for one that is none."""
    if expires is None or expires == FROM_INDEX:
        return ()
    if isinstance(expires, str):
        expires = Expires(expires)
    found = (expires, *expires.others) if isinstance(expires, IndexExpires) else (expires,)
    for rule in found:
        if not all(rule.field.split(".")):
            raise ValueError("expires: has an empty field name; write a date field such as expires_at")
        if not 0 <= rule.after_seconds <= LONGEST_S:
            raise ValueError(f"expires: after_seconds is {rule.after_seconds}; allowed: from 0 to {LONGEST_S}")
    return found


class Expiry:
    """Tells when documents expire by one option `expires`."""

    def __init__(self, expires: str | Expires | None) -> None:
        """Take the option; raises ValueError for one that is no rule."""
        self._rules = [(rule.field.split("."), rule.after_seconds * 1000) for rule in rules(expires)]
        self._unknown = expires == FROM_INDEX

    def __call__(self, document: Document) -> int | None:
        """Return the moment in epoch milliseconds, the earliest of all dates, or None for a document without a date.

        As MongoDB's own TTL index does (R56): a document whose field is missing or holds no date never expires.
        """
        if self._unknown:  # A run puts what the indexes say in its place; to guess would delete, or keep for ever.
            raise RuntimeError("expires: from_index, and no TTL index was looked up")
        moments = [milliseconds(date) + after_ms for names, after_ms in self._rules for date in _dates(document, names)]
        return min(min(moments), _LATEST_MS) if moments else None


def _dates(value: Any, names: Sequence[str]) -> Iterator[dt.datetime | DatetimeMS]:
    """Yield the dates that an index on the path would hold: through arrays on the way, of an array at its end."""
    for number, name in enumerate(names):
        if isinstance(value, list):
            for element in value:
                if not isinstance(element, list):  # An index does not look into arrays of arrays.
                    yield from _dates(element, names[number:])
            if not name.isdecimal() or int(name) >= len(value):
                return
            value = value[int(name)]  # A number on the way is a position too.
            continue
        if isinstance(value, DBRef):
            value = value.as_doc()
        if not isinstance(value, Mapping) or name not in value:
            return
        value = value[name]
    for date in value if isinstance(value, list) else [value]:
        if isinstance(date, dt.datetime | DatetimeMS):
            yield date
