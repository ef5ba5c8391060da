"""The expiry of records: a date of the document, or a time after it, as in a TTL index of MongoDB."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bson import json_util
from bson.datetime_ms import DatetimeMS

from mappers.contract import Document
from mappers.transforms.filters import Filter, compiled, reached
from mappers.values.json_values import milliseconds

FROM_INDEX = "from_index"
"""The value of `expires` with which the TTL indexes of the collection decide."""
_LATEST_MS = 2**63 - 1
_JSON = json_util.JSONOptions(tz_aware=True, tzinfo=dt.UTC, json_mode=json_util.JSONMode.CANONICAL)
LONGEST_S = 2**31 - 1
"""The greatest `expireAfterSeconds` of a TTL index."""


@dataclass(frozen=True)
class Expires:
    """A date field, and how long after it a record expires."""

    field: str
    """The date field; of an array the earliest date counts, and what holds no date never expires."""
    after_seconds: int = 0
    """Seconds from that date on, as `expireAfterSeconds` of a TTL index."""


@dataclass(frozen=True)
class IndexExpires(Expires):
    """The result of `from_index`: the rule of the only TTL index, or of the first of several."""

    where: str = ""
    """The filter of a partial index, as canonical Extended JSON: documents that do not match never expire by it."""
    others: tuple[IndexExpires, ...] = ()
    """The rules of the other TTL indexes: the earliest moment of all counts."""

    @property
    def filter(self) -> dict[str, Any]:
        """The filter as a query."""
        return dict(json_util.loads(self.where, json_options=_JSON)) if self.where else {}


def rules(expires: str | Expires | None) -> Sequence[Expires]:
    """Return the rules that an option means, none for `from_index`; raises ValueError for an invalid option."""
    if expires is None or expires == FROM_INDEX:
        return ()
    if isinstance(expires, str):
        expires = Expires(expires)
    dates = (expires, *expires.others) if isinstance(expires, IndexExpires) else (expires,)
    for rule in dates:
        if not all(rule.field.split(".")):
            raise ValueError("expires: has an empty field name; write a date field such as expires_at")
        if not 0 <= rule.after_seconds <= LONGEST_S:
            raise ValueError(f"expires: after_seconds is {rule.after_seconds}; allowed: from 0 to {LONGEST_S}")
    return dates


def date_field(expires: str | Expires | None) -> str | None:
    """Return the date field that an option names, None where it names none."""
    if isinstance(expires, Expires):
        return expires.field
    return None if expires == FROM_INDEX else expires


class Expiry:
    """The moments at which documents expire by one option `expires`."""

    def __init__(self, expires: str | Expires | None) -> None:
        """Take the option; raises ValueError for an invalid rule."""
        self._rules = [(rule.field.split("."), rule.after_seconds * 1000, _filter(rule)) for rule in rules(expires)]
        self._unknown = expires == FROM_INDEX

    @property
    def paths(self) -> Sequence[str] | None:
        """The fields that decide; None if the filter of an index may depend on any field."""
        return (
            None if any(matches for _, _, matches in self._rules) else [".".join(names) for names, _, _ in self._rules]
        )

    def __call__(self, document: Document) -> int | None:
        """Return the moment in epoch milliseconds, the earliest of all dates, or None for a document without a date.

        As MongoDB's own TTL index does (R56): a document whose field is missing or holds no date never expires.
        """
        if self._unknown:  # A run puts what the indexes say in its place; to guess would delete, or keep for ever.
            raise RuntimeError("expires: from_index, but no TTL index was looked up")
        if not self._rules:
            return None
        moments = [
            milliseconds(date) + after_ms
            for names, after_ms, matches in self._rules
            if matches is None or matches(document)
            for date in reached(document, names)
            if isinstance(date, dt.datetime | DatetimeMS)
        ]
        return min(min(moments), _LATEST_MS) if moments else None


def _filter(rule: Expires) -> Filter | None:
    return compiled(rule.filter) if isinstance(rule, IndexExpires) and rule.where else None


def as_text(expression: Mapping[str, Any]) -> str:
    """Return a filter as the text in `IndexExpires.where`."""
    return json_util.dumps(expression, json_options=_JSON)
