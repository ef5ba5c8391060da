"""Checking the keys of a plan against dataclasses, with faults in a plan's own words."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from typing import Any, TypeVar, cast

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from flows.plan.yaml_file import MOST_FAULTS, PlanFile, Where

T = TypeVar("T")

_ATTEMPTS = 5


@cache
def _holder(kind: type) -> type[BaseModel]:
    # Pydantic gives the model's configuration to plain dataclasses below it, so stores and mappers need no pydantic.
    return create_model("Holder", __config__=ConfigDict(extra="forbid"), keys=(kind, ...))


@cache
def _described(kind: type) -> type[BaseModel]:
    """Return the same model with the keys' docstrings, which take longer to read than all the rest of a plan."""
    config = ConfigDict(extra="forbid", use_attribute_docstrings=True)
    for _ in range(_ATTEMPTS - 1):
        # It reads docstrings by ast, and in CPython 3.11 one thread's parsing makes another's fail (gh-106905), such as
        # one of Prefect's.
        with suppress(SystemError):
            return create_model("Holder", __config__=config, keys=(kind, ...))
    return create_model("Holder", __config__=config, keys=(kind, ...))


def checked(kind: type[T], keys: Any, where: Where, file: PlanFile) -> T | None:
    """Return the dataclass the keys describe, or None with every fault noted in the file."""
    if not isinstance(keys, Mapping):
        file.fault(where, f"found {file.shown(where, keys)}; write its keys under it: {_listed(key_names(kind))}")
        return None
    try:
        model: Any = _holder(cast(type, kind)).model_validate({"keys": keys})
    except ValidationError as error:
        for problem in _without_misspelt(error.errors(include_url=False), kind)[:MOST_FAULTS]:
            _note(problem, kind, where, file)
        return None
    return model.keys  # type: ignore[no-any-return]


def schema(kind: type) -> dict[str, Any]:
    """Return the JSON schema of a dataclass's keys, with their docstrings as descriptions and `$defs` of its own."""
    whole = _described(kind).model_json_schema()
    definitions = whole.get("$defs", {})
    name = whole["properties"]["keys"]["$ref"].rpartition("/")[2]
    return {**definitions.pop(name), "$defs": definitions}


@cache
def _kept_schema(kind: type) -> Mapping[str, Any]:
    """Return the same schema, made once: a plan of many faults asks for it with each."""
    return schema(kind)


def key_names(kind: type) -> list[str]:
    """Return the keys of a dataclass in their order."""
    return [field.name for field in dataclasses.fields(kind)]


def unknown(name: str, allowed: Iterable[str], what: str = "key") -> str:
    """Return the text of a fault that names what does not exist."""
    names = list(allowed)
    return f"no such {what}{_meant(name, names)}; allowed: {_listed(names) or 'none'}"


def _meant(name: str, names: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(names), 1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)


_WANTED = {
    "string_type": "text; put it in quotes",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "list_type": "a list, such as [one, two]",
    "sequence_str": "a list, such as [one, two]",
    "mapping_type": "keys and their values",
    "dict_type": "keys and their values",
}
"""Pydantic's kinds of faults, in a plan's words; `is_instance_of` and the like keep pydantic's."""


_ABSENT = ("missing", "missing_argument", "missing_keyword_only_argument")
_UNKNOWN = ("unexpected_keyword_argument", "extra_forbidden")


def _without_misspelt(problems: Sequence[Any], kind: type) -> list[Any]:
    """Return the problems without missing keys that are there under a misspelt name, which is a problem itself."""
    misspelt = {
        (*problem["loc"][:-1], meant)
        for problem in problems
        if problem["type"] in _UNKNOWN
        for meant in difflib.get_close_matches(str(problem["loc"][-1]), _names_at(kind, problem["loc"][1:-1]), 1)
    }
    return [problem for problem in problems if problem["type"] not in _ABSENT or problem["loc"] not in misspelt]


def _note(problem: Any, kind: type, where: Where, file: PlanFile) -> None:
    if problem["type"] == "string_type" and problem["loc"][-1] == "str" and isinstance(problem["input"], Mapping):
        return  # Text or an object: what is wrong with the object is noted by itself.
    # The location holds the names of union members too; only what stands in the file is kept.
    path: Where = where
    absent = problem["type"] in _ABSENT
    for part in problem["loc"][1:]:
        if (*path, part) in file.lines or (absent and part == problem["loc"][-1]):
            path = (*path, part)
    context = problem.get("ctx", {})
    found = f"found {file.shown(path, problem['input'])}"
    match problem["type"]:
        case _ if absent:
            file.fault(path, "is missing; it has no default")
        case unexpected if unexpected in _UNKNOWN:
            file.fault(path, unknown(str(path[-1]), _names_at(kind, problem["loc"][1:-1])))
        case "literal_error":
            names = [name.strip("'") for name in context["expected"].replace(" or ", ", ").split(", ")]
            meant = _meant(str(problem["input"]), names)
            file.fault(path, f"{found}{meant}; allowed: {_listed(names)}")
        case "value_error":
            key, _, rest = str(context["error"]).partition(": ")
            if rest and key in _names_at(kind, problem["loc"][1:]):
                file.fault((*path, key), rest)
            else:
                file.fault(path, str(context["error"]))
        case "dataclass_type":
            file.fault(path, f"{found}; write its keys under it: {_listed(_names_at(kind, problem['loc'][1:]))}")
        case "greater_than_equal":
            file.fault(path, f"{found}; allowed: {context['ge']} or more")
        case text if text.startswith("int_"):
            file.fault(path, f"{found}; allowed: a whole number")
        case text if text.startswith("float_"):
            file.fault(path, f"{found}; allowed: a number")
        case text if text in _WANTED:
            file.fault(path, f"{found}; allowed: {_WANTED[text]}")
        case _:
            wanted = problem["msg"].removeprefix("Input should be ")
            file.fault(path, f"{found}; allowed: {wanted}")


def _names_at(kind: type, path: Iterable[Any]) -> list[str]:
    """Return the keys allowed at a path below a dataclass, read from its schema."""
    whole = _kept_schema(kind)
    part: Any = whole
    for name in path:
        below = (
            found
            for member in (part, *part.get("anyOf", ()))
            for found in (
                member.get("items") if isinstance(name, int) else member.get("properties", {}).get(name),
                member.get("additionalProperties"),
            )
            if isinstance(found, dict)
        )
        part = next(below, part)  # The name of a union's member stands in no schema.
        part = next((member for member in part.get("anyOf", ()) if "$ref" in member), part)
        if "$ref" in part:
            part = whole["$defs"][part["$ref"].rpartition("/")[2]]
    return list(part.get("properties", {}))
