"""The changes of one database from its change stream: which documents were touched, and how far it is read.

How far a stream has got is proven in one of three ways, never taken from silence (R129): a server may answer that
there is nothing in the midst of a long row of changes that are not asked for. An event is of its cluster time, and no
older one follows. MongoDB's own resume tokens begin with the cluster time up to which the oplog was read. Where tokens
tell no time, a stream that is opened by a read causally at or after a time has read at least up to it when it answers
that there is nothing and its token has not moved since its last answer. A stream whose token moves on so is opened anew
without the choice of collections, which leaves no row of changes that the server passes over, and each answer of
nothing is its end. This last way holds for a replica set, but not through a mongos, which answers so before all of its
shards have.

That nothing is missing before that is proven as well, at each look and not only when the stream is opened: a server may
say that its oplog has overtaken a reader, or go on with what it still has (R122). If the oplog begins no later than the
position before a look, the look has passed over nothing: the oplog's beginning only moves on.

The driver's own change stream is not used: it resumes by itself, once for every failed read and without end, and then
gives "nothing" as its answer where nothing was read.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from bson.timestamp import Timestamp
from pymongo.client_session import ClientSession
from pymongo.command_cursor import CommandCursor
from pymongo.errors import OperationFailure, PyMongoError
from pymongo.read_concern import ReadConcern
from pymongo.read_preferences import Primary

from stores.boot_clock import boot_s
from stores.contract.changes import ChangeBatch, StreamPosition
from stores.contract.stop import NEVER, Stop
from stores.errors import OfframpError, PermanentError, TransientError
from stores.mongodb.change_batches import ChangeBatchBuilder
from stores.mongodb.client import Client
from stores.mongodb.configuration import LIMITS, Limits
from stores.mongodb.errors import translating
from stores.mongodb.quiet_proof import LongWrites, QuietProof
from stores.mongodb.stream_errors import AGAIN, HISTORY_LOST, TokenRefused, lost, translate_stream
from stores.mongodb.stream_marks import Mark
from stores.mongodb.stream_scopes import DEFAULT_WINDOW_S, STREAM_OFF, is_recorded, stream_off
from stores.mongodb.stream_watch import OFF_MEANWHILE, StreamWatch
from stores.mongodb.times import as_int, as_text, timestamp
from stores.throttling.backoff import TIMING, Backoff, Timing, retry, retry_each

_RAW: CodecOptions[RawBSONDocument] = CodecOptions(document_class=RawBSONDocument)
_JUDGE_EVERY_S = 1.0
"""Time between two looks at the oplog's beginning, while it is `_SAFE_MARGIN_S` away."""
_SAFE_MARGIN_S = 60
"""Seconds of the oplog before the position that no second of writing removes; with fewer, each look is judged."""
_CATCHING_UP_MS = 50
"""How long a quiet stream whose tokens tell no time is read before it is opened anew, to prove how far it has got."""
_MOVES_S = 5.0
"""How long a stream is read whose token moves without a change: most rows of other changes end by then."""
_KEYSTRING = "82"
"""What a token of MongoDB begins with: the type of a timestamp; its seconds and its increment follow."""


@dataclass(frozen=True, slots=True)
class _Opened:
    cursor: CommandCursor[RawBSONDocument]
    at_least: int
    """When the stream has nothing more, it has given everything up to this time."""
    at: StreamPosition
    """Where it was opened."""


@dataclass(frozen=True, slots=True)
class _Watched:
    """What proves and watches a stream whose server tells neither its position nor renames."""

    quiet: QuietProof
    watch: StreamWatch

    def saw(self, event: RawBSONDocument) -> None:
        """The stream gave this event."""
        self.quiet.saw(event)
        self.watch.saw(event)


class DatabaseChanges:
    """The changes of one database, behind the contract `stores.contract.Changes`; always asked of the primary."""

    def __init__(
        self,
        client: Client,
        database: str,
        retry_deadline_s: float,
        *,
        window_s: float | None = None,
        limits: Limits = LIMITS,
        timing: Timing = TIMING,
    ) -> None:
        """Bind the names; `window_s` is how far back the source tells changes, for where it cannot be asked."""
        self._client = client
        self._name = database
        self._retry_deadline_s = retry_deadline_s
        self._given_window_s = window_s
        self._limits = limits
        self._timing = timing
        self._whole = False
        """Whether the server sends the changes of all collections, to prove how far it has got."""
        self._moving_since: float | None = None
        """Since when no answer has proven how far a stream has got, as its token moves without a change."""

    def begin(self) -> StreamPosition:
        """Return the position now, with the stream opened there, one batch of it read, and its history whole (R101)."""

        def opened() -> StreamPosition:
            with self._opened({}, None, await_ms=1) as opened:
                token = opened.at.token or _token_after(opened.cursor)
                with self._translated():
                    self._client.ask(opened.cursor.try_next)
                return StreamPosition(opened.at_least, token or b"")

        return retry(opened, self._backoff())

    def follow(
        self,
        collections: Mapping[str, bool],
        since: StreamPosition,
        *,
        until: int | None = None,
        stop: Stop = NEVER,
    ) -> Iterator[ChangeBatch]:
        """Yield what was touched in these collections, in order; ends also when each of them has halted."""
        at, followed = since, dict(collections)
        renewed = False

        def batches() -> Generator[ChangeBatch, None, None]:
            nonlocal at, followed, renewed
            while followed and not stop.is_set():
                try:
                    for batch, reached in self._read(followed, at, until, stop, judge=not renewed):
                        renewed = True
                        at = batch.position
                        followed = {name: wanted for name, wanted in followed.items() if name not in batch.halts}
                        yield batch
                        if reached or not followed:
                            return
                except TokenRefused as refused:
                    if not at.token:
                        raise
                    oldest = self._oldest()
                    if oldest is None or oldest > at.time:
                        raise PermanentError(
                            "E-SRC-HISTORY-LOST",
                            f"{refused.message}, and nothing shows that it still has the changes since"
                            f" {as_text(at.time)}; {AGAIN}",
                        ) from refused
                    # From its time on is from no later than the token; what comes twice does no harm (R119, R132).
                    at, renewed = StreamPosition(at.time), False
                except PermanentError as error:
                    if error.code == STREAM_OFF:  # What happens meanwhile is on record nowhere.
                        yield ChangeBatch((), at, 0, dict.fromkeys(followed, OFF_MEANWHILE))
                        return
                    if error.code != HISTORY_LOST or not self._goes_on_by_time(at):
                        raise
                    at, renewed = StreamPosition(at.time), False
                except TransientError:
                    renewed = False
                    raise

        return retry_each(batches, self._backoff())

    def _goes_on_by_time(self, at: StreamPosition) -> bool:
        """Return whether a stream whose mark is forgotten by the server can be tried at the position's time."""
        with self._translated():
            marked = self._client.flavour().stream_scopes
        return marked and bool(Mark.of(at).after)

    def _backoff(self) -> Backoff:
        return Backoff(self._retry_deadline_s, from_failure=True, timing=self._timing)

    def knows_images(self) -> bool:
        """Whether the server can keep what documents were before a change at all."""
        with self._translated():
            return self._client.flavour().pre_images

    def window_s(self) -> float | None:
        """Return how far back the source could tell now, in seconds; None where it cannot be asked."""
        with self._translated():
            if not self._client.flavour().oplog:
                return self._given_window_s
            now = self._now(None)
        oldest = self._oldest()
        return None if oldest is None else float(max(0, (now >> 32) - (oldest >> 32)))

    def now(self) -> int:
        """Return the source's cluster time, at or after everything it has acknowledged so far."""
        with self._translated():
            return self._now(None)

    def _read(
        self,
        followed: Mapping[str, bool],
        at: StreamPosition,
        until: int | None,
        stop: Stop,
        *,
        judge: bool,
    ) -> Iterator[tuple[ChangeBatch, bool]]:
        """Yield batches and whether `until` is reached; ends where the stream must be opened anew."""
        await_ms = self._limits.await_ms if until is None else _CATCHING_UP_MS
        with self._opened(followed, at, until or 0, judge=judge, await_ms=await_ms) as opened:
            renew_at = time.monotonic() + self._limits.renew_s
            reopening = self._client.flavour().reopening_proof
            watched = self._watched(opened)
            margin_s, judged_at = 0.0, boot_s()
            builder, token = ChangeBatchBuilder(self._name, followed, self._limits), at.token
            answered, moved = _token_after(opened.cursor), False
            while not stop.is_set():
                with self._translated():
                    there = opened.cursor._has_next()  # What is there already needs no question.
                    raw = opened.cursor.try_next() if there else self._client.ask(opened.cursor.try_next)
                if raw is not None:
                    builder.take(raw)
                    token = answered = bytes(raw["_id"].raw)
                    if watched is not None:
                        watched.saw(raw)
                else:
                    token = _token_after(opened.cursor) or token
                    moved, answered = token != answered, token
                closed = not opened.cursor.alive
                if builder.partial and (raw is None or closed):
                    raise TransientError(
                        "E-SRC-AWAY", f"the changes of {self._name}: the rest of an event did not arrive"
                    )
                if raw is not None and not closed and not builder.is_full():
                    continue
                due = boot_s() - judged_at >= _JUDGE_EVERY_S
                if margin_s < _SAFE_MARGIN_S or (due and margin_s < math.inf):
                    judged_at = boot_s()
                    margin_s = self._judge(at)  # Before the batch is handed on, by the position before it.
                    if margin_s < _SAFE_MARGIN_S:  # A quiet stream has to prove soon that it has got further.
                        renew_at = min(renew_at, time.monotonic() + _JUDGE_EVERY_S)
                token_time = _time_of(token) if watched is None else None
                proven = 0
                if watched is not None and raw is None and not closed:
                    with self._translated():
                        proven = watched.quiet.answered_nothing()
                elif raw is None and not closed and reopening and (self._whole or not moved):
                    proven = opened.at_least if token_time is None else token_time
                at = StreamPosition(max(at.time, builder.time, token_time or 0, proven), token)
                if watched is not None:
                    at = watched.quiet.position(at.time)
                    for name, why in self._look(watched.watch, at, followed).items():
                        builder.halt(name, why)
                reached = until is not None and (proven >= until or at.time > until)
                batch = builder.batch(at)
                yield batch, reached
                followed = {name: wanted for name, wanted in followed.items() if name not in batch.halts}
                builder = ChangeBatchBuilder(self._name, followed, self._limits)
                if closed:
                    raise TransientError("E-SRC-AWAY", f"the changes of {self._name}: the source ended the stream")
                silent = raw is None and token_time is None and reopening
                if silent and (self._never_stands_still(moved) or time.monotonic() > renew_at):
                    return

    def _watched(self, opened: _Opened) -> _Watched | None:
        """Return what proves and watches the stream; None where its server tells enough itself."""
        with self._translated():
            if not self._client.flavour().stream_scopes:
                return None
            writes = LongWrites(self._client)
            quiet = QuietProof(
                opened.at,
                lambda: self._now(None),
                lambda: self._client.ask(writes.run),
                quiet_s=self._limits.quiet_s,
                window_s=self._given_window_s,
            )
            now = self._now(None)
            watch = self._client.ask(lambda: StreamWatch(self._client, self._name, now, self._limits.watch_s))
        return _Watched(quiet, watch)

    def _look(self, watch: StreamWatch, at: StreamPosition, followed: Mapping[str, bool]) -> Mapping[str, str]:
        """Return what happened to followed collections that no event tells of, where it is time to look."""
        if not watch.is_due():
            return {}
        with self._translated():
            now = self._now(None)
            return self._client.ask(lambda: watch.look(at.time, now, followed))

    def _never_stands_still(self, moved: bool) -> bool:
        """Return whether a stream is to be opened anew as a whole: its token moves for long without a change."""
        if self._whole or not moved:
            self._moving_since = None
            return False
        now = time.monotonic()
        self._moving_since = self._moving_since or now
        self._whole = now - self._moving_since > _MOVES_S
        return self._whole

    @contextmanager
    def _opened(
        self,
        followed: Mapping[str, bool],
        at: StreamPosition | None,
        least: int = 0,
        *,
        judge: bool = True,
        await_ms: int,
    ) -> Iterator[_Opened]:
        """The stream is open at the position, or at the present, and its answers are of `least` or later."""
        with ExitStack() as opening, self._translated():
            flavour, session = self._client.flavour(), None
            if flavour.causal_reads:
                session = opening.enter_context(self._client.start_session(causal_consistency=True))
            now = max(self._now(session), least)
            if session is not None:
                session.advance_operation_time(timestamp(now))
            if flavour.stream_scopes:
                if self._client.ask(lambda: is_recorded(self._client, self._name)) is False:
                    raise stream_off(self._name)
                at = at or StreamPosition(now, Mark(now).token())
            position = at or StreamPosition(now)
            cursor = self._client.ask(lambda: self._watch(followed, position, session, await_ms))
            with self._client.closing(cursor):
                if judge:
                    self._judge(position)  # After opening: what is there now was there then.
                yield _Opened(cursor, now, position)

    def _watch(
        self, followed: Mapping[str, bool], at: StreamPosition, session: ClientSession | None, await_ms: int
    ) -> CommandCursor[RawBSONDocument]:
        flavour = self._client.flavour()
        imaged = [name for name, wanted in followed.items() if wanted]
        stream: dict[str, Any] = {"startAtOperationTime": timestamp(at.time)}
        if flavour.stream_scopes:
            stream = {**Mark.of(at).stage()}
        elif at.token:
            stream = {"resumeAfter": RawBSONDocument(at.token)}
        if imaged:
            stream["fullDocumentBeforeChange"] = "whenAvailable"
        if flavour.expanded_events:
            stream["showExpandedEvents"] = True
        database: Any = self._client.get_database(
            self._name, codec_options=_RAW, read_preference=Primary(), read_concern=ReadConcern("majority")
        )
        cursor: CommandCursor[RawBSONDocument] = database.aggregate(
            [
                {"$changeStream": stream},
                # A server that proves nothing else proves by any change how far it has got.
                *_stages(
                    followed,
                    imaged,
                    split=bool(imaged) and flavour.split_events,
                    whole=self._whole or flavour.stream_scopes,
                ),
            ],
            session,
            batchSize=0,  # The first answer has no events, but says where the stream begins (R101).
            maxAwaitTimeMS=await_ms,
        )
        return cursor

    def _now(self, session: ClientSession | None) -> int:
        answer = self._client.ask(lambda: self._client.admin.command("ping", session=session))
        time = answer.get("operationTime")
        if not isinstance(time, Timestamp):
            raise PermanentError(
                "E-SRC-STANDALONE", "the source has no cluster time, so it is a standalone server, which has no changes"
            )
        return as_int(time)

    def _oldest(self) -> int | None:
        """Return the cluster time that the oplog begins with; None where it cannot be asked for."""
        if not self._client.flavour().oplog:
            return None
        oplog = self._client.get_database("local", read_preference=Primary())["oplog.rs"]
        first = self._allowed(lambda: oplog.find_one({}, {"ts": 1}, sort=[("$natural", 1)]) or {})
        if isinstance(time := first.get("ts"), Timestamp):
            return as_int(time)
        status = self._allowed(lambda: self._client.admin.command({"serverStatus": 1, "oplog": 1}))
        time = status.get("oplog", {}).get("earliestOptime")
        return as_int(time) if isinstance(time, Timestamp) else None

    def _allowed(self, ask: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
        """Return the answer, an empty one where the server refuses it."""
        try:
            with self._translated():
                return self._client.ask(ask)
        except PermanentError as error:
            if isinstance(error.__cause__, OperationFailure):
                return {}
            raise

    def _judge(self, at: StreamPosition) -> float:
        """Return how many seconds the source's oldest change is before the position; infinite where nothing says it.

        Raises PermanentError if it is after the position: changes may be lost, though the stream is open (R121, R122).
        """
        oldest, window_s = self._oldest(), self._given_window_s
        with self._translated():
            scoped = self._client.flavour().stream_scopes
        if oldest is not None:
            if oldest > at.time:
                raise lost(at.time, f"the source's oplog begins at {as_text(oldest)}")
            return float((at.time >> 32) - (oldest >> 32))
        if window_s is None and not scoped:
            return math.inf
        kept_s = DEFAULT_WINDOW_S if window_s is None else window_s
        with self._translated():
            age_s = (self._now(None) >> 32) - (at.time >> 32)
        if age_s > kept_s and window_s is None:
            raise lost(
                at.time,
                f"it keeps those of {kept_s:.0f} s, unless its parameter change_stream_log_retention_duration says"
                " otherwise: if it is larger, set source.change_retention to it and run the same command",
            )
        if age_s > kept_s:
            raise lost(at.time, f"the source tells the changes of {kept_s:.0f} s")
        return kept_s - age_s

    @contextmanager
    def _translated(self) -> Iterator[None]:
        with translating(self._translate):
            yield

    def _translate(self, error: PyMongoError) -> OfframpError:
        return translate_stream(self._name, error, self._client)


def _stages(
    followed: Mapping[str, bool], imaged: Sequence[str], *, split: bool, whole: bool
) -> list[Mapping[str, Any]]:
    """Return the stages after $changeStream: by name, never by what documents hold (R127), and little of each event."""
    kept: dict[str, Any] = {"operationType": 1, "ns": 1, "to": 1, "clusterTime": 1, "documentKey._id": 1}
    if imaged:
        among = {"$in": ["$ns.coll", {"$literal": list(imaged)}]}
        kept["fullDocumentBeforeChange"] = {"$cond": [among, "$fullDocumentBeforeChange", "$$REMOVE"]}
    names = {"$in": list(followed)}
    concerned = [
        {"ns.coll": names},
        {"to.coll": names},
        {"operationType": {"$in": ["dropDatabase", "invalidate"]}},
    ]
    return [
        *([{"$match": {"$or": concerned}}] if followed and not whole else []),
        {"$project": kept},
        *([{"$changeStreamSplitLargeEvent": {}}] if split else []),
    ]


def _token_after(cursor: CommandCursor[RawBSONDocument]) -> bytes | None:
    """Return the token of where the last answer ends; None from servers that give none.

    The driver has it for its own change stream and keeps it private; a test sees that it is still there.
    """
    token = cursor._post_batch_resume_token
    return bytes(token.raw) if isinstance(token, RawBSONDocument) else None


def _time_of(token: bytes) -> int | None:
    """Return the cluster time that one of MongoDB's own tokens begins with; None for any other server's."""
    data = RawBSONDocument(token).get("_data") if token else None
    if not isinstance(data, str) or not data.startswith(_KEYSTRING) or len(data) < 18:
        return None
    try:
        return int(data[2:18], 16)
    except ValueError:
        return None
