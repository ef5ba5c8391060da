"""Ceilings of a plan: how fast a target may be written to, or the source read, and at which hours."""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from zoneinfo import ZoneInfo

_TIME = re.compile(r"([01]\d|2[0-3]):([0-5]\d)")
_DAY_MINUTES = 24 * 60


@dataclass(frozen=True)
class Window:
    """Hours of every day with a ceiling of their own, in place of the usual ceiling."""

    begin: str
    """The hour it begins at, such as "22:00"."""
    end: str
    """The hour it ends at; one before `begin` is the next day's."""
    max_rate: float | None = None
    """Records a second in these hours (documents, for the source); 0 for none at all."""

    def __post_init__(self) -> None:
        """Refuse text that is no time of day, a window of no length, and a window without a ceiling."""
        for key, text in (("begin", self.begin), ("end", self.end)):
            if not _TIME.fullmatch(text):
                raise ValueError(f'{key}: {text!r} is not a time of day; write hours and minutes such as "06:30"')
        if self.begin == self.end:
            raise ValueError("end: is the same as begin; write a ceiling for the whole day beside `windows`")
        given = [(key, value) for key in _CEILINGS if (value := getattr(self, key, None)) is not None]
        if not given:
            raise ValueError(f"has no ceiling; add {' or '.join(key for key in _CEILINGS if hasattr(self, key))}")
        for key, value in given:
            if not 0 <= value < math.inf:
                raise ValueError(
                    f"{key}: is {value:g}; allowed: a number a second above 0, or 0 for nothing in these hours"
                )

    @property
    def minutes(self) -> Iterator[int]:
        """Yield each minute of the day that the window covers."""
        first, last = _minute(self.begin), _minute(self.end)
        return (minute % _DAY_MINUTES for minute in range(first, last if last > first else last + _DAY_MINUTES))


@dataclass(frozen=True)
class UnitsWindow(Window):
    """The same for DynamoDB, which counts capacity units too."""

    max_write_units: float | None = None
    """Write capacity units a second in these hours, for each table; 0 for none at all."""


_CEILINGS = ("max_rate", "max_write_units")


@dataclass(frozen=True)
class Ceilings:
    """The most that may be sent, or read, in a second, at every hour."""

    max_rate: float | None = None
    max_write_units: float | None = None
    windows: tuple[Window, ...] = ()
    time_zone: str = "UTC"

    @property
    def in_units(self) -> bool:
        """Whether a ceiling counts units at any hour."""
        return self.max_write_units is not None or any(isinstance(window, UnitsWindow) for window in self.windows)

    @property
    def least(self) -> float:
        """The lowest of the ceilings on records that is above 0; infinite where there is none."""
        rates = (self.max_rate, *(window.max_rate for window in self.windows))
        return min((rate for rate in rates if rate), default=math.inf)

    @cached_property
    def _zone(self) -> ZoneInfo:
        return ZoneInfo(self.time_zone)

    def at(self, moment: float) -> tuple[float, float]:
        """Return the records and the units a second that are allowed at a moment, in seconds since 1970.

        Each is infinite where there is no ceiling.
        """
        rate, units = self.max_rate, self.max_write_units
        if self.windows:
            local = dt.datetime.fromtimestamp(moment, self._zone)
            minute = local.hour * 60 + local.minute
            for window in self.windows:
                first, last = _minute(window.begin), _minute(window.end)
                if first <= minute < last if first < last else not last <= minute < first:
                    rate, units = window.max_rate, getattr(window, "max_write_units", None)
        return math.inf if rate is None else rate, math.inf if units is None else units


def ceilings(
    windows: Sequence[Window],
    time_zone: str,
    *,
    name: str = "max_rate",
    max_rate: float | None = None,
    max_write_units: float | None = None,
) -> Ceilings:
    """Return the ceilings; `name` is the key of `max_rate`.

    Raises ValueError, "key: text", for ceilings that cannot be kept or that allow nothing at any hour.
    """
    for key, value in ((name, max_rate), ("max_write_units", max_write_units)):
        if value is not None and not 0 < value < math.inf:
            raise ValueError(f"{key}: is {value:g}; allowed: a number above 0; remove it for no ceiling")
    try:
        ZoneInfo(time_zone)
    except (OSError, ValueError, LookupError):  # ZoneInfoNotFoundError is a KeyError.
        raise ValueError(
            f"time_zone: {time_zone!r} is not a time zone that this machine knows; write one such as Europe/Berlin"
        ) from None
    covered: set[int] = set()
    shut: set[int] = set()
    for window in windows:
        minutes = set(window.minutes)
        if covered & minutes:
            at = min(covered & minutes)
            raise ValueError(
                f"windows: two of them overlap at {at // 60:02}:{at % 60:02}; let one end where another begins"
            )
        covered |= minutes
        if 0 in (window.max_rate, getattr(window, "max_write_units", None)):
            shut |= minutes
    if len(shut) == _DAY_MINUTES:
        raise ValueError("windows: allow nothing at any hour of the day; leave room in at least one")
    return Ceilings(max_rate, max_write_units, tuple(windows), time_zone)


def _minute(text: str) -> int:
    return int(text[:2]) * 60 + int(text[3:])
