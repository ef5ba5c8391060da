"""The field for which OpenSearch refuses a document with too many arrays directly within arrays; it names none."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import orjson

from stores.elasticsearch.spots import Refusal

_TOO_DEEP = re.compile(r"The depth of the nested array field has exceeded the allowed limit of \[(\d+)\]")


def with_field(refusal: Refusal, source: bytes) -> Refusal:
    """Return a refusal for nested arrays with the path of the only field that has too many; any other as it is."""
    too_deep = _TOO_DEEP.search(refusal.reason)
    if too_deep is None or refusal.field:
        return refusal
    try:
        paths = set(_paths(orjson.loads(source), int(too_deep[1]), ""))
    except orjson.JSONDecodeError:  # A mapper of one's own may write anything, and the server read no further.
        return refusal
    # Of several fields one may be a flat_object, in which OpenSearch takes any number.
    return refusal._replace(field=paths.pop()) if len(paths) == 1 else refusal


def _paths(value: Any, limit: int, path: str, arrays: int = 0) -> Iterator[str]:
    """Yield the path of each field in which more than `limit` arrays stand directly within each other."""
    if isinstance(value, list):
        if arrays == limit:
            yield path
            return
        for element in value:
            yield from _paths(element, limit, path, arrays + 1)
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _paths(inner, limit, f"{path}.{name}" if path else name)
