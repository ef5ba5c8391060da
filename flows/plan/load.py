"""The plan: which collection goes where and how, checked as a whole before anything is written."""

from __future__ import annotations

import dataclasses
import datetime as dt
import os
from collections.abc import Iterable, Mapping, Sequence
from decimal import InvalidOperation
from pathlib import Path
from typing import Any

import bson
from bson import json_util
from bson.errors import BSONError

from flows.plan import plugins
from flows.plan.keys import USE_CASES, Fields, PlanKeys, RouteKeys
from flows.plan.model import Plan, Route, left_out
from flows.plan.plugins import MapFunction, PluginError
from flows.plan.validation import checked, key_names, unknown
from flows.plan.yaml_file import PlanFile, Where, read
from mappers.contract import Losses, MapperType
from mappers.documents.decoding import CODEC
from mappers.expiry import FROM_INDEX, Expires
from mappers.transforms.steps import Transform
from mappers.transforms.validation import faults as transform_faults
from mappers.transforms.validation import lacking, undating
from mappers.values.key_templates import Template


def load(path: Path, environment: Mapping[str, str] | None = None) -> Plan:
    """Return the plan in the file; raises PlanError with all its faults, each with its line, and writes nothing."""
    file = read(path, os.environ if environment is None else environment)
    keys = checked(PlanKeys, file.value, (), file)
    if keys is None:
        _check_parts(file)
        raise file.error()
    if not keys.routes:
        file.fault(("routes",), "is empty; a plan moves at least one collection")
    connections = {name: _connection(name, raw, file) for name, raw in keys.targets.items()}
    routes = {name: _route(name, raw, connections, file) for name, raw in keys.routes.items()}
    _check_territories(routes, file)
    if file.faults:
        raise file.error()
    return Plan(
        name=keys.name or path.stem,
        path=path,
        source=keys.source,
        state=_beside(path, keys.state),
        run=keys.run,
        rejects=keys.rejects,
        verification=keys.verification,
        routes={
            name: dataclasses.replace(route, database=keys.source.database)
            for name, route in routes.items()
            if route is not None
        },
    )


def _beside(path: Path, state: str) -> str:
    """Return the state's URL with a relative file taken from the plan's folder: one plan, one state, from anywhere."""
    scheme, slashes, file = state.partition(":///")
    return f"{scheme}{slashes}{path.absolute().parent / file}" if slashes and scheme.startswith("sqlite") else state


def _check_parts(file: PlanFile) -> None:
    """Note the faults of targets and routes too where the plan's own keys are at fault."""
    value = file.value if isinstance(file.value, Mapping) else {}
    targets, routes = value.get("targets"), value.get("routes")
    found = (
        {name: _connection(name, raw, file) for name, raw in targets.items()} if isinstance(targets, Mapping) else {}
    )
    for name, raw in routes.items() if isinstance(routes, Mapping) else ():
        _route(name, raw, found, file)


def _connection(name: str, raw: Any, file: PlanFile) -> Any:
    where: Where = ("targets", name)
    try:
        kind = plugins.target_type(name)
    except PluginError as error:
        file.fault(where, str(error))
        return None
    return checked(kind.Connection, {} if raw is None else raw, where, file)


def _route(name: str, raw: Any, connections: Mapping[str, Any], file: PlanFile) -> Route | None:
    where: Where = ("routes", name)
    before = len(file.faults)
    raw = {} if raw is None else raw
    if not isinstance(raw, Mapping):
        file.fault(
            where, f"found {file.shown(where, raw)}; write its keys below it, such as use_case: {next(iter(USE_CASES))}"
        )
        return None
    common = set(key_names(RouteKeys))
    keys = checked(RouteKeys, {key: value for key, value in raw.items() if key in common}, where, file)
    if keys is None:
        keys = _sound(raw, common, where, file)
        if keys.use_case is None and keys.target is None and not raw.keys().isdisjoint(("use_case", "target")):
            return None  # The fault is noted, and nothing tells which other keys the route may have.
    picked = USE_CASES.get(keys.use_case or "", (None, None))
    target_name = keys.target or picked[0]
    mapper_name = keys.mapper or (picked[1] if target_name == picked[0] else None)
    if target_name is None:
        file.fault(where, f"has neither use_case nor target; use_case is one of {', '.join(USE_CASES)}")
        return None
    target_type = _named(plugins.target_type, target_name, (*where, "target" if keys.target else "use_case"), file)
    if target_type is None:
        return None
    if target_name not in connections:
        file.fault(
            where,
            f"goes to {target_name}, but there is no targets.{target_name}; say there how {target_name} is reached",
        )
    mapper_type: MapperType | None = None
    function: MapFunction | None = None
    if keys.use is not None:
        if keys.mapper is not None:
            file.fault((*where, "use"), "found use and mapper; say one of them")
        function = _named(
            lambda use: plugins.user_function(use, file.path.parent, keys.options), keys.use, (*where, "use"), file
        )
    elif mapper_name is None:
        names = ", ".join(_serving(target_name)) or "none is installed"
        at = where if "mapper" not in raw else (*where, "mapper")
        file.fault(at, f"has no mapper for {target_name}; allowed: {names}; or your own, use: file.py:function")
    elif mapper_name not in plugins.available(plugins.MAPPERS):
        shown = file.shown((*where, "mapper"), mapper_name)
        text = unknown(mapper_name, _serving(target_name), f"mapper for {target_name}")
        file.fault((*where, "mapper"), f"found {shown}; {text}")
    else:
        if keys.options:
            file.fault(
                (*where, "options"), "is for a mapper of your own (use:); a built-in mapper's keys stand in the route"
            )
        mapper_type = _named(plugins.mapper_type, mapper_name, (*where, "mapper"), file)
        if mapper_type is not None and mapper_type.target != target_name:
            file.fault(
                (*where, "mapper"),
                f"{mapper_name!r} makes records for {mapper_type.target}, not for {target_name}; allowed:"
                f" {', '.join(_serving(target_name)) or 'none is installed'}",
            )
            mapper_type = None
    own = {key: value for key, value in raw.items() if key not in common}
    placement_names = plugins.placement_keys(target_type, mapper_type)
    option_names: list[str] = []
    if mapper_type is not None:
        option_names = key_names(mapper_type.Options)
    elif keys.use is None:  # The mapper is at fault; a key that another one knows may well be right.
        option_names = sorted(
            {key for one in _serving(target_name) for key in key_names(plugins.mapper_type(one).Options)}
        )
    for key in own:
        if key not in placement_names and key not in option_names:
            allowed = dict.fromkeys([*key_names(RouteKeys), *placement_names, *option_names])
            file.fault((*where, key), unknown(key, allowed))
    placed = {**getattr(mapper_type, "PLACEMENT", {}), **_some(own, placement_names)}
    placement = checked(target_type.Placement, placed, where, file)
    options = checked(mapper_type.Options, _some(own, option_names), where, file) if mapper_type is not None else None
    if getattr(options, "fidelity", "native") == "lossless" and (keys.fields != Fields() or keys.transforms):
        file.fault(
            (*where, "fidelity"),
            "lossless keeps documents as they are, `fields` and `transforms` do not; say one of them",
        )
    if own.get("expires") == FROM_INDEX and (keys.use is not None or keys.transforms):
        file.fault(
            (*where, "expires"),
            "from_index is about documents as the source has them, for a built-in mapper without `transforms`; name the"
            " date field, or in a mapper of your own the moment",
        )
    query = _query(keys.where, (*where, "where"), file)
    _check_transforms(keys, where, file)
    if len(file.faults) > before or connections.get(target_name) is None:
        return None
    route = Route(
        name=name,
        collection=keys.collection or name,
        target_name=target_name,
        target_type=target_type,
        connection=connections[target_name],
        placement=placement,
        mapper_name=keys.use or mapper_name or "",
        mapper_type=mapper_type,
        options=keys.options if function is not None else options,
        function=function,
        digest=plugins.file_digest(keys.use, file.path.parent) if keys.use else "",
        keys=keys,
        where=query,
        sealed=frozenset(
            [f"options.{key}" for key in keys.options if file.from_environment((*where, "options", key))]
            + [key for key in ("where", "transforms") if file.from_environment((*where, key))]
        ),
    )
    for build in (route.target, lambda: route.mapper(Losses())):
        try:
            build()
        except ValueError as error:
            key, _, rest = str(error).partition(": ")
            at = (*where, key) if rest and key in own else where
            file.fault(at, rest if at != where else str(error))
            return None
    if getattr(options, "id_encoding", "typed") == "plain" and any(_changes_identity(one) for one in keys.transforms):
        file.fault(
            (*where, "id_encoding"), "plain needs the `_id`s the source has; its transforms change them: say typed"
        )
    for key, path in _needed(options) if function is None else ():
        if keys.transforms:
            _check_needed(key, path, keys, where, file)
        elif left_out(path, keys.fields):
            file.fault((*where, "fields"), f"leaves out {path!r}, which {key} needs; let it go along")
    return route


def _changes_identity(transform: Transform) -> bool:
    return transform.explode is not None or (transform.hash is not None and "_id" in transform.hash.fields)


def _needed(options: Any) -> Iterable[tuple[str, str]]:
    """Yield the fields that a built-in mapper reads by name, each with the key that names it."""
    for key in ("expires", "score", "member"):
        path = getattr(options, key, None)
        if isinstance(path, Expires):
            yield key, path.field
        elif isinstance(path, str) and (key, path) != ("expires", FROM_INDEX):
            yield key, path
    if hasattr(options, "needed"):
        yield from options.needed()
    template = getattr(options, "key", None)
    if isinstance(template, str):
        yield from (("key", path) for path in Template.parse(template).paths)


def _check_transforms(keys: RouteKeys, where: Where, file: PlanFile) -> None:
    fields = keys.fields
    for at, text in transform_faults(keys.transforms, keep=fields.keep, drop=fields.drop or ()):
        file.fault((*where, "transforms", *at), text)
    for number, transform in enumerate(keys.transforms):
        salt: Where = (*where, "transforms", number, "hash", "salt")
        if transform.hash is not None and salt not in file.written:
            file.fault(salt, "stands in the plan for all to read; keep it in the environment and write ${NAME}")


def _check_needed(key: str, path: str, keys: RouteKeys, where: Where, file: PlanFile) -> None:
    """Note that what a mapper reads by name is gone when it comes to the mapper: no record would ever expire."""
    fields = keys.fields
    told = lacking(keys.transforms, path, keep=fields.keep, drop=fields.drop or ())
    if told is None and key == "expires" and (by := undating(keys.transforms, path)):
        told = f"{by} leaves no date in {path}"
    if told is not None:
        file.fault((*where, key), f"is judged after the transforms, and {told}")


def _sound(raw: Mapping[str, Any], common: Iterable[str], where: Where, file: PlanFile) -> RouteKeys:
    """Return the route's common keys without those at fault, so that the others' faults are told as well."""
    apart = dataclasses.replace(file, faults=[])
    sound = {
        key: raw[key] for key in common if key in raw and checked(RouteKeys, {key: raw[key]}, where, apart) is not None
    }
    return checked(RouteKeys, sound, where, apart) or RouteKeys()


def _named(find: Any, name: str, where: Where, file: PlanFile) -> Any:
    try:
        return find(name)
    except PluginError as error:
        file.fault(where, f"found {file.shown(where, name)}; {error}")
        return None


def _serving(target_name: str) -> list[str]:
    return sorted(name for name in plugins.available(plugins.MAPPERS) if _serves(name, target_name))


def _serves(mapper_name: str, target_name: str) -> bool:
    try:
        return plugins.mapper_type(mapper_name).target == target_name
    except PluginError:
        return False


def _some(keys: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: keys[name] for name in names if name in keys}


def _query(raw: Any, where: Where, file: PlanFile) -> dict[str, Any]:
    """Return a query with its Extended JSON turned into BSON values: ``{$date: …}``, ``{$oid: …}``."""
    try:
        query: dict[str, Any] = _bson(raw)
        bson.encode(query, codec_options=CODEC)
    except (BSONError, TypeError, ValueError, ArithmeticError) as error:
        # A decimal's own complaint names its class only.
        reason = "a number in it cannot be read" if isinstance(error, InvalidOperation) else error
        file.fault(where, f"is no MongoDB query: {reason}")
        return {}
    return query


_EXTENDED = json_util.JSONOptions(tz_aware=True, tzinfo=dt.UTC)


def _bson(value: Any) -> Any:
    if isinstance(value, Mapping):
        inside = {name: _bson(inner) for name, inner in value.items()}
        # As an operator $regex may have neighbours ($ne, $nin), which Extended JSON's $regex has not and would lose.
        return inside if "$regex" in inside else json_util.object_hook(inside, _EXTENDED)
    if isinstance(value, list):
        return [_bson(inner) for inner in value]
    if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
        return dt.datetime(value.year, value.month, value.day, tzinfo=dt.UTC)  # YAML's 2024-01-01; BSON has no days.
    return value


def _overlap(one: str, other: str) -> bool:
    """Whether something may be in both territories: each part of one begins with that of the other, or the reverse."""
    parts = zip(one.split("\x01"), other.split("\x01"), strict=False)
    return all(mine.startswith(theirs) or theirs.startswith(mine) for mine, theirs in parts)


def _check_territories(routes: Mapping[str, Route | None], file: PlanFile) -> None:
    """Two routes may not write to the same place: each would take the other's records for extras."""
    claimed: dict[str, str] = {}
    for name, route in routes.items():
        if route is None:
            continue
        territory = f"{route.target_name} {route.target().territory}"
        for other, taken in claimed.items():
            if _overlap(territory, taken):
                file.fault(
                    ("routes", name),
                    f"writes in {route.target_name} where route {other!r} (line {file.lines['routes', other]}) writes;"
                    " give each a place of its own, so that neither's begins with the other's",
                )
        claimed[name] = territory
