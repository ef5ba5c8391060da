"""Indices by time: the name of a document's index, made of a date field, such as ``logs-2024.05``."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from dataclasses import dataclass

from bson.datetime_ms import DatetimeMS

from mappers.contract import Document, MappingError
from mappers.documents.fields import lookup
from mappers.values.json_values import milliseconds

_TEMPLATE = re.compile(r"(?P<before>[^{}]*)\{(?P<field>[^{}:]+):(?P<format>[^{}]+)\}(?P<after>[^{}]*)")
_FORMAT = re.compile(r"%Y(?P<month>[._-]?%m(?P<day>[._-]?%d(?:[._-]?%H)?)?)?")
_PARTS = {"%Y": r"\d{4}", "%m": r"\d\d", "%d": r"\d\d", "%H": r"\d\d"}
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


@dataclass(frozen=True, slots=True)
class Periods:
    """The names ``before`` + a date in ``format`` + ``after``, by the UTC date in ``field``."""

    before: str
    field: str
    format: str
    after: str
    undated: str | None = None
    """The index of documents without a date; without one they are rejects."""

    @classmethod
    def parse(cls, index: str | None, undated: str | None = None) -> Periods | None:
        """Return the periods of a name with a field in braces, None for any other name; raises ValueError."""
        if index is None or ("{" not in index and "}" not in index):
            if undated is not None:
                raise ValueError("undated_index: is only for an index named by a date, such as logs-{at:%Y.%m}")
            return None
        match = _TEMPLATE.fullmatch(index)
        if match is None or not all(match["field"].split(".")):
            raise ValueError(f"index: {index!r} names no date field; write it like logs-{{at:%Y.%m}}")
        if not _FORMAT.fullmatch(match["format"]):
            raise ValueError("index: a date is %Y, %Y.%m, %Y.%m.%d or %Y.%m.%d.%H, with . - _ or nothing in between")
        if not match["before"]:
            raise ValueError(f"index: {index!r} must begin with a text of its own, such as logs-")
        if undated is not None and not undated.startswith(match["before"]):
            raise ValueError(f"undated_index: must begin with {match['before']!r} too, as the route's other indices do")
        return cls(match["before"], match["field"], match["format"], match["after"], undated)

    @property
    def wildcard(self) -> str:
        """A pattern that all its names match, and perhaps other names."""
        return f"{self.before}*"

    def owns(self, index: str) -> bool:
        """Return whether the name is one of these names."""
        date = re.escape(self.format)
        for code, digits in _PARTS.items():
            date = date.replace(code, digits)
        pattern = re.escape(self.before) + date + re.escape(self.after)
        return index == self.undated or re.fullmatch(pattern, index, re.ASCII) is not None

    def examples(self) -> Sequence[str]:
        """Return examples of the names; the longest possible name is among them."""
        return [self._name(_EPOCH), *([self.undated] if self.undated else [])]

    def index(self, document: Document) -> str:
        """Return the name of the document's index; raises MappingError without a date and an `undated` name."""
        date = lookup(document, self.field)
        if isinstance(date, dt.datetime | DatetimeMS):
            try:
                return self._name(_EPOCH + dt.timedelta(milliseconds=milliseconds(date)))
            except OverflowError:
                what = "is a date outside the years 1 to 9999"
        else:
            what = "has no date"
        if self.undated is None:
            raise MappingError(
                "E-ES-PERIOD", self.field, f"{what}, which names the index; set undated_index for such documents"
            )
        return self.undated

    def _name(self, date: dt.datetime) -> str:
        # strftime does not fill years before 1000 with zeros everywhere.
        parts = {"%Y": f"{date.year:04}", "%m": f"{date.month:02}", "%d": f"{date.day:02}", "%H": f"{date.hour:02}"}
        text = self.format
        for code, digits in parts.items():
            text = text.replace(code, digits)
        return self.before + text + self.after
