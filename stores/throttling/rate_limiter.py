"""The rate at which a place is sent to: as fast as it takes it, never faster than the plan says (R47, R51, R52).

Nothing waits until a place throttles. From then on the place has a rate. Each sign of throttling cuts it, at most by
half and once for all requests that were under way. It grows by equal steps, faster the longer the place stays calm.
All threads of a process that write to one place share its `Pacer`: each asks before a request and records its result.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from stores.contract.stop import raise_if_stopped
from stores.throttling.backoff import TIMING, Timing
from stores.throttling.limits import Ceilings

_log = logging.getLogger(__name__)

_BURST_S = 0.25
"""What a place is not sent for want of records may be sent later, of this much time at the most."""
_NAP_S, _LOOK_S = 0.001, 1.0
"""How long is waited before clock and rate are looked at again, at least and at most: a window may have ended."""
_CUT_EVERY_S = 0.25
"""Nor is a rate cut before it was seen for this time."""
_CUT = 0.9
"""What is kept of the rate that got through."""
_CUT_MOST = 0.5
_STEP = 0.05
"""How much of the rate after a cut a second of growth adds."""
_CALM_S = 3.0
"""So long without throttling doubles the steps: a passing trouble must not slow a run for hours."""
_FREED = 100
"""Grown to so many times what it was after its last cut, a rate holds nothing back any more."""
_LEAST = 1.0
"""A place is always asked this much a second: else it could not show that it has recovered."""
_TRY_S = 5.0
"""However low the rate and large the requests, one goes after this time: it shows whether the place takes more."""
_SLOW_S = 2.0
_SLOW_TIMES = 10.0
"""Answers that take this long, and so many times as long as the quickest, are a sign of throttling too."""
_LOG_EVERY_S = 10.0

T = TypeVar("T")


class Turn(NamedTuple):
    """Permission to send one request."""

    at: float
    """When it was given, by the pacer's clock."""
    records: int
    units: float
    waited_s: float
    """How long the request waited for it."""
    in_vain_s: float
    """How much of that it waited, last, for a place that took nothing from any request of this process."""

    @property
    def excused_s(self) -> float:
        """How long it waited for a reason that says nothing against the place: a ceiling, or the turns of others."""
        return self.waited_s - self.in_vain_s


@dataclass(frozen=True, slots=True)
class Waits:
    """The waits before a route's requests, and the answers that asked for less."""

    throttled: int = 0
    """Answers with which the place asked for less."""
    waited_s: float = 0.0
    """Seconds in which something waited to be sent."""
    rate: float | None = None
    """Units (records, where nothing else is counted) a second that the place is thought to take; None for no limit."""

    def __add__(self, other: Waits) -> Waits:
        """Return both together; the rate is the other's, which came later."""
        return Waits(self.throttled + other.throttled, self.waited_s + other.waited_s, other.rate)


class Paced:
    """A target or a source that limits how fast it is asked; it inherits this class."""

    pace: Pace


class _Bucket:
    """Permission that accrues at a rate and may be overdrawn once: a request of any size goes when there is no debt."""

    def __init__(self, now: float, most_s: float = math.inf) -> None:
        self._balance = 0.0
        self._at = now
        self._most_s = most_s

    def wait_s(self, rate: float, now: float) -> float:
        """Return the seconds until a request may go at this rate."""
        if rate == math.inf:
            self._balance = 0.0
        else:
            self._balance = min(rate * _BURST_S, self._balance + rate * (now - self._at))
        self._at = now
        if rate == 0:
            return math.inf
        self._balance = max(self._balance, -rate * self._most_s)
        return -self._balance / rate if self._balance < 0 else 0.0

    def take(self, amount: float) -> None:
        self._balance -= amount


class _Recent:
    """The amount that passed in a second lately: the second under way, or the second before if that was more."""

    def __init__(self, now: float) -> None:
        self._since = now
        self._amount = 0.0
        self._before = 0.0

    def add(self, amount: float, now: float) -> None:
        if now - self._since >= 1.0:
            self._before = self._amount / (now - self._since)
            self._since, self._amount = now, 0.0
        self._amount += amount

    def rate(self, now: float) -> float:
        return max(self._before, self._amount / max(now - self._since, 0.2))


class Pacer:
    """The rate of one place, shared by every thread that sends to it."""

    def __init__(
        self,
        place: str,
        ceilings: Ceilings,
        *,
        timing: Timing = TIMING,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """Limit nothing but what the ceilings limit."""
        self.place = place
        self._ceilings = ceilings
        self._clock, self._wall, self._stop = timing.clock, wall, timing.stop
        self._lock = threading.Lock()
        now = self._clock()
        self._rate = math.inf
        """Units a second that the place takes, as far as is known."""
        self._base = math.inf
        """The rate after the last cut."""
        self._cut_at = -math.inf
        self._grown_at = now
        self._offered, self._through = _Recent(now), _Recent(now)
        self._adaptive, self._units, self._records = _Bucket(now, _TRY_S), _Bucket(now), _Bucket(now)
        self._allowed = (math.inf, math.inf)
        self._allowed_at = -math.inf
        self._quickest_s = math.inf
        self._usual_s = 0.0
        self._logged_at = -math.inf
        self._began_at = math.inf
        self._taken_at = -math.inf
        """When the place last took a record."""

    @property
    def rate(self) -> float | None:
        """The units a second that the place is thought to take; None where it has shown no limit."""
        return None if self._rate == math.inf else self._rate

    def ask(self, records: int, units: float | None = None, patience_s: float = math.inf) -> Turn:
        """Return once a request of so many records and units (else as many) may be sent.

        A place that takes nothing is waited for no longer than `patience_s`, however low its rate is by now. Raises
        TransientError where it would have to wait and the process has been asked to end.
        """
        wanted = float(records) if units is None else units
        began = in_vain_since = self._clock()
        while True:
            with self._lock:
                now = self._clock()
                rate_s, ceiling_s = self._rate_wait_s(now), self._ceiling_wait_s(now)
                in_vain_since = max(in_vain_since, self._taken_at)
                in_vain_s = max(0.0, now - in_vain_since)
                wait_s = ceiling_s if in_vain_s >= patience_s else max(rate_s, ceiling_s)
                if wait_s <= 0:
                    for bucket, amount in (
                        (self._adaptive, wanted),
                        (self._units, wanted),
                        (self._records, records),
                    ):
                        bucket.take(amount)
                    self._offered.add(wanted, now)
                    self._began_at = min(self._began_at, now)
                    return Turn(now, records, wanted, now - began, in_vain_s)
            raise_if_stopped(
                self._stop, f"stopped by a signal while waiting for {self.place}; the same command resumes"
            )
            self._stop.wait(min(max(wait_s, _NAP_S), _LOOK_S))
            if ceiling_s >= rate_s:
                in_vain_since = self._clock()

    def record_result(self, turn: Turn, left: int = 0, *, throttled: bool | None = None) -> bool:
        """Record that all but `left` records of a request got through; return whether the place throttled.

        It throttled if any record is left, unless `throttled` says otherwise, or if its answers have become slow.
        """
        asked_for_less = left > 0 if throttled is None else throttled
        with self._lock:
            now = self._clock()
            if left < turn.records:
                self._taken_at = now
            if turn.records:
                self._through.add(turn.units * (1 - left / turn.records), now)
            slow = not asked_for_less and self._slow(now - turn.at)
            if asked_for_less or slow:
                self._cut(turn, now, "answers slowly" if slow else "throttles")
        return asked_for_less or slow

    def give_back(self, records: int) -> None:
        """Give back the permission for records that were not sent after all."""
        with self._lock:
            for bucket in (self._adaptive, self._units, self._records):
                bucket.take(-records)

    def _ceiling_wait_s(self, now: float) -> float:
        if now - self._allowed_at >= _LOOK_S:
            share = max(1, _processes)
            records, units = self._ceilings.at(self._wall())
            self._allowed = (records / share, units / share)
            self._allowed_at = now
        records, units = self._allowed
        return max(self._units.wait_s(units, now), self._records.wait_s(records, now))

    def _rate_wait_s(self, now: float) -> float:
        if self._rate != math.inf:
            self._grow(now)
        return self._adaptive.wait_s(self._rate, now)

    def _grow(self, now: float) -> None:
        calm = min(int((now - self._cut_at) / _CALM_S), 20)
        self._rate += max(self._base * _STEP, _LEAST) * 2**calm * (now - self._grown_at)
        self._grown_at = now
        if self._rate > self._base * _FREED:
            self._rate = math.inf
            _log.info("%s: no longer limited; writing as fast as it answers", self.place)

    def _cut(self, turn: Turn, now: float, why: str) -> None:
        if turn.at <= self._cut_at or now - max(self._cut_at, self._began_at) < _CUT_EVERY_S:
            return  # It was under way when the rate was cut: the same trouble once more.
        before = min(self._rate, self._offered.rate(now))
        through = self._through.rate(now) * _CUT
        self._rate = self._base = max(_LEAST, min(before * _CUT, max(through, before * _CUT_MOST)))
        self._cut_at = self._grown_at = now
        if now - self._logged_at >= _LOG_EVERY_S:
            self._logged_at = now
            _log.info("%s %s: %.0f units a second now", self.place, why, self._rate)

    def _slow(self, seconds: float) -> bool:
        self._quickest_s = min(self._quickest_s * 1.0001, seconds)
        self._usual_s += (seconds - self._usual_s) / 8
        if self._usual_s < max(_SLOW_S, _SLOW_TIMES * self._quickest_s):
            return False
        self._usual_s = 0.0  # Another cut takes new evidence.
        return True


class Pace:
    """A pacer as one target of a route uses it; it counts the waits of that route."""

    def __init__(self, pacer: Pacer) -> None:
        """Count from nothing."""
        self.pacer = pacer
        self._lock = threading.Lock()
        self._throttled = 0
        self._waited_s = 0.0
        self._until = -math.inf

    @property
    def waits(self) -> Waits:
        """The waits so far."""
        return Waits(self._throttled, self._waited_s, self.pacer.rate)

    def ask(self, records: int, units: float | None = None, patience_s: float = math.inf) -> Turn:
        """Return once a request of so many records and units may be sent; see `Pacer.ask`."""
        turn = self.pacer.ask(records, units, patience_s)
        if turn.waited_s:
            with self._lock:  # Threads that waited at the same time count once.
                self._waited_s += max(0.0, turn.at - max(self._until, turn.at - turn.waited_s))
                self._until = max(self._until, turn.at)
        return turn

    def record_result(self, turn: Turn, left: int = 0, *, throttled: bool | None = None) -> None:
        """Record how a request ended; see `Pacer.record_result`."""
        if self.pacer.record_result(turn, left, throttled=throttled):
            with self._lock:
                self._throttled += 1


_processes = 1
_pacers: dict[tuple[str, str, Ceilings, Timing], Pacer] = {}
_pacers_lock = threading.Lock()


def divide(processes: int) -> None:
    """Divide each ceiling by this number of processes from now on; this process is counted."""
    global _processes
    _processes = processes


def pace(place: str, ceilings: Ceilings, at: str = "", timing: Timing = TIMING) -> Pace:
    """Return a route's own view of the one pacer that this process has for a place under these ceilings.

    `at` tells places of one name apart, and is never shown.
    """
    with _pacers_lock:
        return Pace(_pacers.setdefault((place, at, ceilings, timing), Pacer(place, ceilings, timing=timing)))


def spread(items: Sequence[T], size: int) -> list[T]:
    """Return the items so that each `size` of them in a row come from all over the sequence (R51).

    Records that follow each other in the source often share a partition of the target.
    """
    strides = -(-len(items) // size)
    return [item for start in range(strides) for item in items[start::strides]]
