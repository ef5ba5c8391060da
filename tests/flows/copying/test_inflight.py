"""The bytes in flight of a process: from before a batch is read until it is acknowledged or compared."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from flows.copying.inflight import CountedBatches, InFlight, counted
from stores.contract.source import Batch, Partition
from stores.contract.stop import NEVER

LARGE = Batch([b"x" * 200], b"")


def test_a_partition_with_nothing_in_flight_waits_for_what_others_have_there() -> None:
    in_flight = InFlight(limit_bytes=100)
    first, second = CountedBatches([LARGE, LARGE], in_flight), CountedBatches([LARGE, LARGE], in_flight)
    assert first.next(NEVER) is LARGE
    read = threading.Event()

    def read_second() -> None:
        assert second.next(NEVER) is LARGE
        read.set()

    reader = threading.Thread(target=read_second)
    reader.start()
    assert not read.wait(0.3)
    first.done(200)
    assert read.wait(20)
    reader.join(20)
    assert in_flight.size_bytes == 200


def test_a_first_batch_counts_as_what_its_source_says_while_it_is_read() -> None:
    """Else as many first batches as there are routes would be read at once, however large."""

    class Foreseen:
        def batch_bytes(self) -> int:
            return 150

        def read(self, partition: Partition, after: bytes | None = None) -> Iterator[Batch]:
            being_read.append(in_flight.size_bytes)
            yield LARGE

    in_flight = InFlight(limit_bytes=100)
    being_read: list[int] = []
    batches = counted(Foreseen(), Partition(0), None, in_flight)
    assert in_flight.size_bytes == 0
    assert batches.next(NEVER) is LARGE
    assert (being_read, in_flight.size_bytes) == ([150], 200)


def test_a_partition_with_a_batch_in_flight_reads_on() -> None:
    """Else two partitions that each have one could wait for each other."""
    in_flight = InFlight(limit_bytes=100)
    batches = CountedBatches([LARGE, LARGE], in_flight)
    assert batches.next(NEVER) is LARGE
    assert batches.next(NEVER) is LARGE
    assert in_flight.size_bytes == 400


def test_a_stop_ends_the_wait_and_reads_nothing() -> None:
    in_flight = InFlight(limit_bytes=100)
    first, second = CountedBatches([LARGE], in_flight), CountedBatches([LARGE], in_flight)
    first.next(NEVER)
    stop = threading.Event()
    stop.set()
    assert second.next(stop) is None
    assert not second.ended
    assert in_flight.size_bytes == 200


def test_the_end_and_an_error_leave_nothing_in_flight() -> None:
    in_flight = InFlight(limit_bytes=100)
    batches = CountedBatches([LARGE], in_flight)
    batches.next(NEVER)
    assert batches.next(NEVER) is None
    assert batches.ended
    batches.close()
    assert in_flight.size_bytes == 0

    def broken() -> Batch:
        raise ConnectionError

    failing = CountedBatches((broken() for _ in range(1)), in_flight)
    with pytest.raises(ConnectionError):
        failing.next(NEVER)
    failing.close()
    assert in_flight.size_bytes == 0
