"""How far a stream has got by what Amazon DocumentDB tells: a change's time, or that nothing came for long enough.

A change is of its cluster time, and no older one follows: that is a proof. Silence is none by itself. It counts once
all of this holds, and is weaker even then:

- the stream has shown the change again before which it was opened, if there was one (`stores.mongodb.stream_marks`);
- at least three answers in a row, over at least two seconds, had nothing, and the source's time was asked before them:
  the stream is then taken to have given what was acknowledged up to that time;
- no long write runs, neither at the beginning of the silence nor at its end: the service holds all changes back until
  an updateMany or a deleteMany is done.

A change that the service shows later than that, for a reason that nobody can see, is not lost: the stream is opened
again from its mark, which is an earlier place than the time that was taken for reached.
"""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from bson.raw_bson import RawBSONDocument
from bson.timestamp import Timestamp
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from stores.contract.changes import StreamPosition
from stores.errors import PermanentError
from stores.mongodb.answer_codes import TRANSIENT_CODES
from stores.mongodb.stream_marks import Mark
from stores.mongodb.times import as_int

_log = logging.getLogger(__name__)

_ANSWERS = 3
_LONG_WRITE_S = 1
_TELL_EVERY_S = 60.0
_WRITES = frozenset(("update", "remove", "delete"))
"""What a long write is called, as an operation or as a command."""
_MARK_WAIT_S = 600.0
"""How long a stream may say that there is nothing before it has shown the change again that it was opened before."""
SHORTEST_WINDOW_S = 3600.0
"""How long the service keeps changes at the least."""


@dataclass(slots=True)
class _Silence:
    began_s: float
    time: int
    """The source's time when it began."""
    answers: int = 0


class QuietProof:
    """What one open stream has proven."""

    def __init__(
        self,
        at: StreamPosition,
        now: Callable[[], int],
        writes_run: Callable[[], bool],
        *,
        quiet_s: float,
        window_s: float | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """The stream was opened at the position; `now` asks for the source's time, `writes_run` whether one is long."""
        self._mark = Mark.of(at)
        self._awaited = self._mark.shown
        self._now = now
        self._writes_run = writes_run
        self._quiet_s = quiet_s
        self._slack = int((window_s or SHORTEST_WINDOW_S) / 2) << 32
        self._clock = clock
        self._opened_s = clock()
        self._last: Mark | None = None
        self._silences: deque[_Silence] = deque()
        self._proven = 0

    def saw(self, event: RawBSONDocument) -> None:
        """A change was shown."""
        self._awaited = False
        self._silences.clear()
        at = event.get("clusterTime")
        time_of_event = as_int(at) if isinstance(at, Timestamp) else 0
        if self._last is None:
            self._mark = Mark(self._mark.time, self._mark.after, shown=True)
        else:
            self._mark = self._last
        self._last = Mark(time_of_event, bytes(event["_id"].raw), shown=True)

    def answered_nothing(self) -> int:
        """Return up to which time everything was given, now that another answer had nothing; 0 for unknown.

        Raises PermanentError where the change that the stream was opened before does not come again.
        """
        now_s = self._clock()
        if self._awaited:
            if now_s - self._opened_s > _MARK_WAIT_S:
                raise PermanentError(
                    "E-SRC-HISTORY-LOST",
                    f"for {_MARK_WAIT_S:.0f} s the stream has not shown again the last change that was read of it: the"
                    " source has no record of it any more, and of later ones perhaps neither",
                )
            return 0
        for silence in self._silences:
            silence.answers += 1
        ripe = [s for s in self._silences if now_s - s.began_s >= self._quiet_s and s.answers >= _ANSWERS]
        if ripe:
            if self._writes_run():
                self._silences.clear()
                return self._proven
            self._proven = ripe[-1].time
            for _ in ripe:
                self._silences.popleft()
        due = not self._silences or now_s - self._silences[-1].began_s >= self._quiet_s / 2
        if due and not self._writes_run():
            self._silences.append(_Silence(now_s, self._now()))
        return self._proven

    def position(self, at: int) -> StreamPosition:
        """Return the position of this time, from which the stream goes on at its mark.

        A mark that grows old while nothing happens moves on, but stays half of what the source keeps behind the time.
        """
        if at - self._mark.time > self._slack:
            self._mark, self._last = Mark(at - self._slack // 2), None
        return StreamPosition(at, self._mark.token())


class LongWrites:
    """Whether a write runs for long in the source, which holds every change back until it is done."""

    def __init__(self, client: MongoClient[dict[str, Any]]) -> None:
        """Ask nothing yet."""
        self._client = client
        self._forbidden = False
        self._told_s = -math.inf

    def run(self) -> bool:
        """Return whether there is one, which the log tells once a minute; False where this user may not ask.

        Raises pymongo's errors of a source that is away.
        """
        if self._forbidden:
            return False
        try:
            running = self._client.admin.command("currentOp")["inprog"]
        except OperationFailure as error:
            if error.code in TRANSIENT_CODES:
                raise
            self._forbidden = True
            return False
        longest = max((operation for operation in running if _is_long_write(operation)), key=_seconds, default=None)
        if longest is not None and time.monotonic() - self._told_s >= _TELL_EVERY_S:
            self._told_s = time.monotonic()
            _log.warning(
                "a write to %s has run for %d s; the source shows no change until it is done",
                *(longest.get("ns") or "the source", _seconds(longest)),
            )
        return longest is not None


def _is_long_write(operation: Mapping[str, Any]) -> bool:
    if not operation.get("active") or _seconds(operation) < _LONG_WRITE_S:
        return False
    command = operation.get("command") or {}
    return operation.get("op") in _WRITES or next(iter(command), "") in _WRITES


def _seconds(operation: Mapping[str, Any]) -> int:
    return int(operation.get("secs_running") or 0)
