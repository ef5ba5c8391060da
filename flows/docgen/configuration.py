"""The generated part of docs/configuration.md: every key of a plan, from the schema that checks it.

`python -m flows.docgen.configuration` prints it; `--write` and `--check` are about the page.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from flows import generated_file
from flows.plan.json_schema import Schema, plan_schema

FILE = Path(__file__).parents[2] / "docs" / "configuration.md"
_BEGIN = "<!-- made by `python -m flows.docgen.configuration --write`; change the dataclass that holds the key -->\n"
_END = "<!-- end of what is made -->\n"
_SECTIONS = {"source": "Connection", "run": "RunKeys", "verification": "VerificationKeys", "rejects": "RejectKeys"}
_PARTS = ("Fields", "Key", "KeyAttribute", "Index", "Expires", "Durability", "Iam", "Window", "UnitsWindow")
"""Definitions with a table of their own, in this order; other definitions have a page or a section."""
_LINKS = {
    "Transform": "[steps](transforms.md)",
    **dict.fromkeys(
        ("ItemPolicies", "JsonPolicies", "IndexPolicies", "HashPolicies"), "[policies](values.md#policies)"
    ),
    **{definition: f"[keys](#{section})" for section, definition in _SECTIONS.items()},
    **{name: f"[{name}](#{name.lower()})" for name in _PARTS},
}
_NAMES = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "`true`, `false`",
    "object": "mapping",
}
_OWN = "a mapper of your own"


def tables(schema: Schema) -> str:
    """Return the generated part for a plan's schema: a table of keys for each part of a plan."""
    definitions = schema["$defs"]
    parts = ["## The plan", _keys(schema["properties"], schema["required"])]
    for section, name in _SECTIONS.items():
        parts += [f"## {section}", _keys(definitions[name]["properties"], definitions[name].get("required", ()))]
    connections = schema["properties"]["targets"]["properties"]
    for target, connection in connections.items():
        parts += [f"## targets.{target}", _keys(connection["properties"], connection.get("required", ()))]
    parts += ["## routes", "Keys that every route may have.", _keys(definitions["route"]["properties"], ())]
    for target in connections:
        parts += [f"## Routes to {target}", _route_keys(target, definitions)]
    for name in _PARTS:
        described = definitions[name]
        parts += [
            f"## {name}",
            _one_line(described["description"]),
            _keys(described["properties"], described.get("required", ())),
        ]
    return "\n\n".join(part.rstrip("\n") for part in parts) + "\n"


def page(current: str, schema: Schema) -> str:
    """Return the page with its generated part made anew; raises ValueError for a page without its marks."""
    before, begin, rest = current.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise ValueError(f"{FILE} has lost the marks around its generated part")
    return f"{before}{begin}\n{tables(schema)}\n{end}{after}"


def _keys(properties: Mapping[str, Schema], required: Iterable[str]) -> str:
    needed = frozenset(required)
    rows = [_row(name, key, name in needed) for name, key in properties.items()]
    return _table(["key", "value", "default", "meaning"], rows)


def _route_keys(target: str, definitions: Mapping[str, Schema]) -> str:
    """Return the table of the keys that only routes to a target have, with the mappers that take each of them."""
    prefix = f"route to {target} "
    variants = {name.removeprefix(prefix): variant for name, variant in definitions.items() if name.startswith(prefix)}
    takers: dict[tuple[str, ...], list[str]] = {}
    for name, variant in variants.items():
        mapper = f"`{name.removeprefix('as ')}`" if name.startswith("as ") else _OWN
        for key, described in variant["properties"].items():
            if described is not True:
                takers.setdefault(_row(key, described, key in variant.get("required", ())), []).append(mapper)
    first = {row[0]: at for at, row in reversed(list(enumerate(takers)))}
    rows = [
        (*row, "all" if len(takers[row]) == len(variants) else ", ".join(takers[row]))
        for row in sorted(takers, key=lambda row: first[row[0]])
    ]
    return _table(["key", "value", "default", "meaning", "mapper"], rows)


def _row(name: str, key: Schema, required: bool) -> tuple[str, ...]:
    default = "required" if required else ""
    if "default" in key:
        default = (
            f"`{key['default'] if key['default'] and isinstance(key['default'], str) else json.dumps(key['default'])}`"
        )
    return f"`{name}`", ", ".join(_values(key)), default, _one_line(key.get("description", ""))


def _values(key: Schema) -> list[str]:
    """Return what a key may hold; left out is what every key may hold: nothing, and text from the environment."""
    if "$ref" in key:
        name = key["$ref"].rpartition("/")[2]
        return [_LINKS.get(name, "mapping")]
    if "enum" in key:
        return [f"`{value}`" for value in key["enum"]]
    if "anyOf" in key:
        return list(
            dict.fromkeys(
                value for choice in key["anyOf"] if not _from_environment(choice) for value in _values(choice)
            )
        )
    kinds = [key["type"]] if isinstance(key["type"], str) else list(key["type"])
    if "pattern" in key and len(kinds) > 1:
        kinds.remove("string")
    return [value for kind in kinds if kind != "null" for value in _kind(kind, key)]


def _kind(kind: str, key: Schema) -> list[str]:
    if kind == "array":
        return [f"list of {' or '.join(_values(key['items']))}"]
    inner = key.get("additionalProperties")
    if kind == "object" and isinstance(inner, dict):
        return [f"mapping of names to {' or '.join(_values(inner))}"]
    return [_NAMES[kind]]


def _from_environment(choice: Schema) -> bool:
    return choice.get("type") == "string" and "pattern" in choice


def _one_line(text: str) -> str:
    """Return a docstring as Markdown on one line, without the numbers of rules (docs/rules.md) that it cites."""
    return re.sub(r" \(R\d+(?:, R\d+)*\)", "", " ".join(text.split())).replace("``", "`")


def _table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [names, ["---"] * len(names), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") or " " for cell in cells) + " |\n" for cells in lines)


def main(arguments: Sequence[str]) -> int:
    """Print, write or check the page; returns the exit code."""
    schema = plan_schema("mongo-offramp")
    return generated_file.run(
        arguments,
        "flows.docgen.configuration",
        FILE,
        lambda present: page(present, schema),
        show=lambda: tables(schema),
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
