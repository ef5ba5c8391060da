"""One HTTP request and its answer, and what answers as a kind of store does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request."""

    method: str
    path: str
    query: Mapping[str, Sequence[str]]
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """One HTTP answer."""

    body: bytes
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    writes: bool = False
    """Whether the request wrote documents: such a one is answered late if there is a latency."""


class Store(Protocol):
    """What answers requests as one kind of store does."""

    def answer(self, request: Request, /) -> Reply:
        """Return the answer to a request."""
