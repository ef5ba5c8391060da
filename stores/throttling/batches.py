"""Cutting a sequence of items into requests that a store takes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TypeVar

T = TypeVar("T")


def cut(
    items: Iterable[T], most: int, most_bytes: float = math.inf, size: Callable[[T], int] | None = None
) -> Iterator[list[T]]:
    """Yield lists of the items in their order, each of at most `most` items and, by `size`, `most_bytes` bytes.

    An item that is larger than `most_bytes` is a list of its own. No list is empty.
    """
    if size is None:
        rest = iter(items)
        while full := list(islice(rest, most)):
            yield full
        return
    batch: list[T] = []
    batch_bytes = 0
    for item in items:
        item_bytes = size(item)
        batch_bytes += item_bytes
        if batch_bytes > most_bytes or len(batch) == most:
            if batch:
                yield batch
                batch = []
            batch_bytes = item_bytes
        batch.append(item)
    if batch:
        yield batch
