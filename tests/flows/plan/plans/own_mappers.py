"""Mappers that the plans of this folder name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mappers.redis import String


def tagged(document: dict[str, Any], tag: str, limit: int = 3) -> Iterator[String]:
    yield String(f"tagged:{document['_id']}", tag[:limit].encode())


def plain(document: dict[str, Any]) -> Iterator[String]:
    yield String(f"plain:{document['_id']}", b"")


def nothing() -> None:
    pass


CONSTANT = 1


def by_position(document: dict[str, Any], tag: str, /) -> Iterator[String]:
    yield String(f"by_position:{document['_id']}", tag.encode())
