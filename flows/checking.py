"""Checking the keys of a plan against dataclasses, with faults in a plan's own words."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, TypeVar, cast

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from flows.planfile import PlanFile, Where

T = TypeVar("T")

_CONFIG = ConfigDict(extra="forbid", use_attribute_docstrings=True)


@cache
def _holder(kind: type) -> type[BaseModel]:
    # Pydantic gives the model's configuration to plain dataclasses below it, so stores and mappers need no pydantic.
    return create_model("Holder", __config__=_CONFIG, keys=(kind, ...))


def checked(kind: type[T], keys: Any, where: Where, file: PlanFile) -> T | None:
    """Return the dataclass the keys describe, or None with every fault noted in the file."""
    if not isinstance(keys, Mapping):
        file.fault(where, f"found {file.shown(where, keys)}; allowed: {_listed(key_names(kind))}")
        return None
    try:
        held: Any = _holder(cast(type, kind)).model_validate({"keys": keys})
    except ValidationError as error:
        for told in error.errors(include_url=False):
            _note(told, kind, where, file)
        return None
    return held.keys  # type: ignore[no-any-return]


def schema(kind: type) -> dict[str, Any]:
    """Return the JSON schema of a dataclass's keys, with their docstrings as descriptions and `$defs` of its own."""
    whole = _holder(kind).model_json_schema()
    definitions = whole.get("$defs", {})
    name = whole["properties"]["keys"]["$ref"].rpartition("/")[2]
    return {**definitions.pop(name), "$defs": definitions}


def key_names(kind: type) -> list[str]:
    """Return the keys of a dataclass in their order."""
    return list(kind.__dataclass_fields__)  # type: ignore[attr-defined]


def unknown(name: str, allowed: Iterable[str]) -> str:
    """Return what to say of a key that does not exist."""
    names = list(allowed)
    close = difflib.get_close_matches(name, names, 1)
    return f"no such key{f' (did you mean {close[0]!r}?)' if close else ''}; allowed: {_listed(names)}"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)


def _note(told: Any, kind: type, where: Where, file: PlanFile) -> None:
    if told["type"] == "string_type" and told["loc"][-1] == "str" and isinstance(told["input"], Mapping):
        return  # Text or an object: what is wrong with the object is told by itself.
    # The location holds the names of union members too; only what stands in the file is kept.
    path: Where = where
    for part in told["loc"][1:]:
        if (*path, part) in file.lines or part == told["loc"][-1]:
            path = (*path, part)
    context = told.get("ctx", {})
    match told["type"]:
        case "missing" | "missing_argument":
            file.fault(path, "is missing; it has no default")
        case "unexpected_keyword_argument" | "extra_forbidden":
            file.fault(path, unknown(str(path[-1]), _names_at(kind, told["loc"][1:-1])))
        case "literal_error":
            file.fault(path, f"found {file.shown(path, told['input'])}; allowed: {context['expected']}")
        case "value_error":
            key, _, rest = str(context["error"]).partition(": ")
            if rest and key in key_names(kind):
                file.fault((*path, key), rest)
            else:
                file.fault(path, str(context["error"]))
        case _:
            wanted = told["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
            file.fault(path, f"found {file.shown(path, told['input'])}; allowed: {wanted}")


def _names_at(kind: type, path: Iterable[Any]) -> list[str]:
    """Return the keys allowed at a path below a dataclass, read from its schema."""
    whole = schema(kind)
    part: Any = whole
    for name in path:
        below = (
            found
            for one in (part, *part.get("anyOf", ()))
            for found in (one.get("properties", {}).get(name), one.get("additionalProperties"))
            if isinstance(found, dict)
        )
        part = next(below, part)  # The name of a union's member stands in no schema.
        part = next((one for one in part.get("anyOf", ()) if "$ref" in one), part)
        if "$ref" in part:
            part = whole["$defs"][part["$ref"].rpartition("/")[2]]
    return list(part.get("properties", {}))
