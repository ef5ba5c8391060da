"""The JSON Schema of plans, made from the dataclasses that check them: editors complete keys and mark wrong ones.

`python -m flows.plan.json_schema` prints the schema with every installed target and mapper; `--write` and `--check` are
about config/plan.schema.json, which knows those of this distribution.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flows import generated_file
from flows.plan import plugins
from flows.plan.plan_keys import PlanKeys, RouteKeys
from flows.plan.validation import key_names, schema

FILE = Path(__file__).parents[2] / "config" / "plan.schema.json"
_FROM_ENVIRONMENT = {"type": "string", "pattern": r"\$\{"}
_SCALARS = ("integer", "number", "boolean")

Schema = dict[str, Any]


def plan_schema(distribution: str | None = None) -> Schema:
    """Return the schema of a plan, draft 2020-12; with a distribution's name, of its targets and mappers only."""
    targets = {name: plugins.target_type(name) for name in _names(plugins.TARGETS, distribution)}
    mappers = {name: plugins.mapper_type(name) for name in _names(plugins.MAPPERS, distribution)}
    of_target = {target: [name for name, kind in mappers.items() if kind.target == target] for target in targets}
    definitions: Schema = {}
    plan = _lifted(schema(PlanKeys), definitions)
    plan["properties"]["targets"] = {
        "description": plan["properties"]["targets"]["description"],
        "type": "object",
        "properties": {name: _connection(kind.Connection, definitions) for name, kind in targets.items()},
        "additionalProperties": False,
    }
    plan["properties"]["routes"] = {
        "description": plan["properties"]["routes"]["description"],
        "type": "object",
        "minProperties": 1,
        "additionalProperties": {"$ref": "#/$defs/route"},
    }
    definitions["route"] = _route(of_target, definitions)
    for target, kind in targets.items():
        placement = _lifted(schema(kind.Placement), definitions)
        own = {name: placement["properties"][name] for name in plugins.placement_keys(kind, None)}
        definitions[f"route to {target} by a mapper of your own"] = _variant({**placement, "properties": own})
        for mapper in of_target[target]:
            options = _lifted(schema(mappers[mapper].Options), definitions)
            allowed = plugins.placement_keys(kind, mappers[mapper])
            beside = {**placement, "properties": {name: placement["properties"][name] for name in allowed}}
            definitions[f"route to {target} as {mapper}"] = _variant(beside, options)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "offramp plan",
        "description": "Which collections of a MongoDB go where, and how.",
        **plan,
        "$defs": dict(sorted(definitions.items())),
    }


def text() -> str:
    """Return the content of config/plan.schema.json."""
    return _text(plan_schema(plugins.DISTRIBUTION))


def _text(made: Schema) -> str:
    return json.dumps(made, indent=2, ensure_ascii=False) + "\n"


def _names(group: str, distribution: str | None) -> Sequence[str]:
    return sorted(
        name
        for name, point in plugins.available(group).items()
        if distribution is None or (point.dist is not None and point.dist.name == distribution)
    )


def _connection(kind: type, definitions: Schema) -> Schema:
    made = _lifted(schema(kind), definitions)
    if "required" not in made:  # `dynamodb:` with nothing after it is a connection with every default.
        made["type"] = ["object", "null"]
    return made


# --- routes: the keys that fit depend on target and mapper ------------------------------------------------------------


def _route(of_target: Mapping[str, Sequence[str]], definitions: Schema) -> Schema:
    """Return the schema of a route: the keys of every route, and the closed variant of each target and mapper."""
    common = _lifted(schema(RouteKeys), definitions)
    named: Mapping[str, Schema] = {
        "use_case": {"enum": list(plugins.use_cases())},
        "target": {"enum": sorted(of_target)},
        "mapper": {"enum": sorted(name for names in of_target.values() for name in names)},
        "use": {"type": "string", "pattern": r"^.+\.py:[^:]+$"},
    }
    for name, rules_of_it in named.items():  # Written, they say something: null would be another way to leave them out.
        described = common["properties"][name]["description"]
        common["properties"][name] = {"description": described, **rules_of_it}
    rules: list[Schema] = [
        {"anyOf": [{"required": ["use_case"]}, {"required": ["target"]}]},
        {"not": {"required": ["use", "mapper"]}},
        _rule(
            [{"required": ["fidelity"], "properties": {"fidelity": {"const": "lossless"}}}],
            _absent("fields", "transforms"),
        ),
    ]
    for target, names in of_target.items():
        goes = _goes_to(target)
        rules += [
            _rule([goes, {"required": ["mapper"]}], {"properties": {"mapper": {"enum": list(names)}}}),
            _rule(
                [goes, _absent("mapper"), _absent("use"), {"not": _picks(target)}],
                {"anyOf": [{"required": ["mapper"]}, {"required": ["use"]}]},
            ),
            _rule([goes, {"required": ["use"]}], _reference(f"route to {target} by a mapper of your own")),
        ]
        for mapper in names:
            picked = [case for case, picks in plugins.use_cases().items() if picks == (target, mapper)]
            shaped: list[Schema] = [{"required": ["mapper"], "properties": {"mapper": {"const": mapper}}}]
            if picked:
                shaped.append({"allOf": [_absent("mapper"), _one_of("use_case", picked)]})
            rules.append(_rule([goes, _absent("use"), {"anyOf": shaped}], _reference(f"route to {target} as {mapper}")))
    return {
        "description": "One collection to one target.",
        "type": "object",
        "properties": common["properties"],
        "dependentRequired": {"options": ["use"]},
        "allOf": rules,
    }


def _variant(*parts: Schema) -> Schema:
    """Return a closed object of the common keys and those of its parts; the mapper's words win over the target's."""
    properties: Schema = dict.fromkeys(key_names(RouteKeys), True)
    required: list[str] = []
    for part in parts:
        properties.update(part["properties"])
        required += part.get("required", [])
    made: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return made | ({"required": sorted(set(required))} if required else {})


def _goes_to(target: str) -> Schema:
    return {
        "anyOf": [
            {"required": ["target"], "properties": {"target": {"const": target}}},
            {"allOf": [_absent("target"), _picks(target)]},
        ]
    }


def _picks(target: str) -> Schema:
    return _one_of("use_case", [case for case, (name, _) in plugins.use_cases().items() if name == target])


def _one_of(name: str, values: Sequence[str]) -> Schema:
    return {"required": [name], "properties": {name: {"enum": list(values)}}}


def _absent(*names: str) -> Schema:
    return {"not": {"anyOf": [{"required": [name]} for name in names]}}


def _rule(conditions: Sequence[Schema], consequence: Schema) -> Schema:
    return {"if": {"allOf": list(conditions)}, "then": consequence}


def _reference(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name.replace(' ', '%20')}"}


# --- from pydantic's schemas to ours ----------------------------------------------------------------------------------


def _lifted(made: Schema, definitions: Schema) -> Schema:
    """Return the schema in our form, its definitions moved up to those of the whole."""
    for name, definition in made.pop("$defs").items():
        ours = _ours(definition)
        if definitions.setdefault(name, ours) != ours:
            raise ValueError(f"two dataclasses of the name {name}; the plan's schema needs one name for each")
    lifted: Schema = _ours(made)
    del lifted["description"]  # The dataclass's docstring; the key above it says what it is.
    return lifted


def _ours(node: Any) -> Any:
    """Return a part of a schema without its titles, and with `${NAME}` allowed wherever a value may stand."""
    if isinstance(node, list):
        return [_ours(inner) for inner in node]
    if not isinstance(node, dict):
        return node
    made = {
        key: {name: _ours(inner) for name, inner in value.items()} if key == "properties" else _ours(value)
        for key, value in node.items()
        if key != "title" and not (key == "default" and (value is None or isinstance(value, dict)))
    }
    if "enum" in made:
        rules = {key: made.pop(key) for key in ("enum", "type") if key in made}
        made["anyOf"] = [rules, _FROM_ENVIRONMENT]
    elif made.get("type") in _SCALARS:
        # A pattern is about strings alone, a minimum about numbers alone.
        made |= {**_FROM_ENVIRONMENT, "type": [made["type"], "string"]}
    if {"type": "null"} in made.get("anyOf", ()) and len(made["anyOf"]) == 2 and "type" in made["anyOf"][0]:
        kind = made.pop("anyOf")[0]
        known = kind["type"] if isinstance(kind["type"], list) else [kind["type"]]
        made |= {**kind, "type": [*known, "null"]}
    return made


def main(arguments: Sequence[str]) -> int:
    """Print, write or check the schema; returns the exit code."""
    return generated_file.run(
        arguments, "flows.plan.json_schema", FILE, lambda _: text(), show=lambda: _text(plan_schema())
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
