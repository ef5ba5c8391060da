"""Arrays as DynamoDB sets, on request (R28): a set has no order, no repeated value, one type, and is never empty."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from mappers.contract import Losses, MappingError
from mappers.values.field_names import dynamodb_name

EmptySets = Literal["reject", "omit"]
"""What becomes of an empty array listed in `sets`."""
_SETS = {"S": "SS", "N": "NS", "B": "BS"}


def checked_path(path: str) -> Sequence[str]:
    """Return the attribute names of a dotted path; raises ValueError for one that names nothing, or the `_id`."""
    names = path.split(".")
    if "" in names:
        raise ValueError(f"sets: {path!r} has an empty field name; write a path such as profile.tags")
    if names[0] == "_id":
        raise ValueError("sets: _id is the document's key and cannot be a set")
    return [dynamodb_name(name) for name in names]


def make_set(attributes: dict[str, Any], names: Sequence[str], empty: EmptySets, losses: Losses) -> None:
    """Turn an array at the path into a set; raises MappingError for an array that cannot be a set.

    With `empty` omit an empty array is left out and counted as the loss `set_empty`.
    """
    holder: Any = attributes
    for name in names[:-1]:
        holder = holder.get(name, {}).get("M")
        if holder is None:
            return
    value: Mapping[str, Any] = holder.get(names[-1], {})
    if value.get("L") == [] and empty == "omit":
        del holder[names[-1]]
        losses.add("set_empty", ".".join(names))
    elif "L" in value:
        holder[names[-1]] = _set(value["L"], ".".join(names))


def _set(elements: Sequence[Mapping[str, Any]], field: str) -> dict[str, Any]:
    kinds = {kind for element in elements for kind in element}
    if len(kinds) != 1 or not kinds <= _SETS.keys():
        what = "is empty" if not elements else "holds values that are not all text, all numbers or all bytes"
        raise MappingError("E-DDB-SET", field, f"is listed in `sets` but {what}")
    [kind] = kinds
    members = sorted(element[kind] for element in elements)
    if len(set(members)) < len(members):
        raise MappingError("E-DDB-SET", field, "is listed in `sets` but holds a value twice")
    return {_SETS[kind]: members}
