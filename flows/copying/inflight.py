"""What is under way at once: calls of a target, and the bytes of the documents that they are about."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

from stores.contract.source import Batch, Foreseeing, Partition, Readable
from stores.contract.stop import Stop
from stores.contract.target import Prompt

P = ParamSpec("P")
T = TypeVar("T")

_IN_FLIGHT_BYTES = 8 << 20
"""Bytes of documents in flight in this process. Past it no partition reads another batch before one of its own, or of
another partition where it has none, is acknowledged. A batch has about 1 MB, at most 16 MB, and takes several times its
size while it is sent."""
_STOP_EVERY_S = 0.2


class InFlight:
    """The documents that the threads of a process have in flight: being read, and not acknowledged or compared yet."""

    def __init__(self, limit_bytes: int = _IN_FLIGHT_BYTES) -> None:
        """Count none yet; it is full past `limit_bytes`."""
        self._changed = threading.Condition()
        self._limit_bytes = limit_bytes
        self.size_bytes = 0
        self.mapping = threading.Lock()
        """Serializes mapping: two batches at once would share one interpreter and need the memory of two."""

    def add(self, size_bytes: int) -> None:
        """Add to the bytes in flight; a negative number takes away."""
        with self._changed:
            self.size_bytes += size_bytes
            self._changed.notify_all()

    @property
    def full(self) -> bool:
        """Whether the limit is reached."""
        return self.size_bytes > self._limit_bytes

    def reserve(self, size_bytes: int, stop: Stop) -> None:
        """Add to the bytes in flight once the limit is not reached, or `stop` is set.

        Call it with nothing of one's own in flight: those who have something make the room.
        """
        with self._changed:
            while self.full and not stop.is_set():
                self._changed.wait(_STOP_EVERY_S)
            self.size_bytes += size_bytes


OF_THIS_PROCESS = InFlight()
"""What all partitions that this process copies or compares have in flight together."""


class CountedBatches:
    """The batches of one partition, each in flight from before it is read until it is done."""

    def __init__(self, batches: Iterable[Batch], in_flight: InFlight, first_bytes: int = 0) -> None:
        """Read nothing yet; the first batch is expected to have about `first_bytes`."""
        self._batches = iter(batches)
        self._in_flight = in_flight
        self._size_bytes = 0
        self._expected_bytes = first_bytes
        self.ended = False
        """Whether every batch was read."""

    def next(self, stop: Stop) -> Batch | None:
        """Return the next batch; None at the end, or once `stop` is set.

        With nothing of the partition in flight, first waits until the process has room; a batch being read counts as
        much as the last one of its partition.
        """
        expected_bytes = self._expected_bytes
        if self._size_bytes:
            self._in_flight.add(expected_bytes)
        else:
            self._in_flight.reserve(expected_bytes, stop)
        read_bytes = 0
        try:
            if stop.is_set():
                return None
            batch = next(self._batches, None)
            if batch is None:
                self.ended = True
                return None
            read_bytes = self._expected_bytes = sum(map(len, batch.documents))
            return batch
        finally:
            self._size_bytes += read_bytes
            self._in_flight.add(read_bytes - expected_bytes)

    def in_turn(
        self, flight: Sequence[tuple[Any, Any, Future[Any]]], window: int, stop: Stop, advance: Callable[[], object]
    ) -> Iterator[Batch]:
        """Yield each batch once there is room for it among the window's; at the end `flight` is empty.

        `flight` has what the caller made of each batch that is not done, with the future of its answer, the oldest
        first; `advance` takes the oldest out. The caller lets go of a batch before it asks for the next: else it would
        stay in memory until that has been read and mapped.
        """
        while True:
            while flight and (flight[0][2].done() or self._in_flight.full):
                advance()
            batch = self.next(stop)
            if batch is None:
                break
            while len(flight) >= window:
                advance()
            yield batch
            del batch
        while flight:
            advance()

    def done(self, size_bytes: int) -> None:
        """A batch of so many bytes is no longer in flight."""
        self._size_bytes -= size_bytes
        self._in_flight.add(-size_bytes)

    def close(self) -> None:
        """No batch is in flight any more."""
        self.done(self._size_bytes)


def counted(source: Readable, partition: Partition, after: bytes | None, in_flight: InFlight) -> CountedBatches:
    """Return the batches of the partition past `after`, of which none is read yet."""
    first_bytes = source.batch_bytes() if isinstance(source, Foreseeing) else 0
    return CountedBatches(source.read(partition, after), in_flight, first_bytes)


class OverlappedCalls:
    """At most `window` calls of one target at once; a prompt target is called within `submit`, without a thread."""

    def __init__(self, target: object, window: int, name: str) -> None:
        """Take the target and the limit; threads, named `name`, begin when they are first needed."""
        self._target = target if isinstance(target, Prompt) else None
        self._threads = ThreadPoolExecutor(window, thread_name_prefix=name)

    def submit(self, call: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> Future[T]:
        """Return the future of the call: its result, or the error it raised."""
        if self._target is None or not self._target.prompt:
            return self._threads.submit(call, *arguments, **named)
        done: Future[T] = Future()
        try:
            done.set_result(call(*arguments, **named))
        except Exception as error:  # noqa: BLE001 - raised where the result is asked for, as a thread's would be
            done.set_exception(error)
        return done

    def close(self) -> None:
        """Wait for the calls under way; calls that have not begun are cancelled."""
        self._threads.shutdown(wait=True, cancel_futures=True)
