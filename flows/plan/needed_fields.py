"""Whether the fields that a route's mapper reads by name are still there when a document comes to the mapper."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from flows.plan.model import left_out
from flows.plan.plan_keys import RouteKeys
from mappers.contract import option_declarations
from mappers.transforms.transform import Transform
from mappers.transforms.validation import lacking, undating


def changes_identity(transforms: Iterable[Transform]) -> bool:
    """Return whether one of the transforms gives documents another `_id` than the source has."""
    return any(transform.splits or transform.of_id() is not None for transform in transforms)


def faults(options: Any, keys: RouteKeys) -> Iterator[tuple[str, str]]:
    """Yield each field that a built-in mapper reads and `fields` or `transforms` take away: key at fault, and why."""
    for key, path in option_declarations(options).needed():
        if keys.transforms:
            if (reason := _taken_away(key, path, keys)) is not None:
                yield key, f"is read after the transforms, and {reason}"
        elif left_out(path, keys.fields):
            yield "fields", f"leaves out {path!r}, which {key} needs; keep that field"


def _taken_away(key: str, path: str, keys: RouteKeys) -> str | None:
    """Return why the transforms leave nothing for the key at this path, or None where they leave it."""
    fields = keys.fields
    reason = lacking(keys.transforms, path, keep=fields.keep, drop=fields.drop or ())
    if reason is None and key == "expires" and (step := undating(keys.transforms, path)):
        return f"{step} leaves no date in {path}"
    return reason
