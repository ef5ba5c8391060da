"""The routes of a plan: each step checks one thing and notes its faults in the file, so that all are found at once."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from flows.plan import needed_fields, plugins, query
from flows.plan.model import Route
from flows.plan.own_mapper import MapFunction, user_function
from flows.plan.plan_keys import Fields, RouteKeys
from flows.plan.plugins import PluginError
from flows.plan.validation import checked, key_names, unknown
from flows.plan.yaml_file import MOST_FAULTS, PlanFile, Where
from mappers.contract import Losses, MapperType, declarations, option_declarations
from mappers.expiry import FROM_INDEX
from mappers.transforms.validation import faults as transform_faults
from stores.contract.target import TargetType

T = TypeVar("T")

_COMMON = frozenset(key_names(RouteKeys))


def checked_route(name: str, raw: Any, connections: Mapping[str, Any], file: PlanFile) -> Route | None:
    """Return the route that `raw` describes, or None with every fault of it noted in the file."""
    faults_before = len(file.faults)
    section = _section(name, raw, file)
    if section is None:
        return None
    keys = _common_keys(section)
    target = _target(section, keys, connections) if keys is not None else None
    if keys is None or target is None:
        return None
    mapper = _mapper(section, keys, target)
    placement, options = _own_keys(section, keys, target, mapper)
    _check_lossless(section, keys, options)
    _check_expiry_from_index(section, keys)
    where = _query(section, keys)
    _check_transforms(section, keys)
    unfit = placement is None or (mapper.type is not None and options is None)
    # What is unfit may have its fault already: a reference in it has no value, or the plan has too many faults.
    if unfit or len(file.faults) > faults_before or connections.get(target.name) is None:
        return None
    if mapper.type is None and mapper.function is None:
        return None
    route = Route(
        name=name,
        collection=keys.collection or name,
        target_name=target.name,
        target_type=target.type,
        connection=connections[target.name],
        placement=placement,
        mapper_name=mapper.name,
        mapper_type=mapper.type,
        options=keys.options if mapper.function is not None else options,
        function=mapper.function,
        digest=mapper.digest,
        keys=keys,
        where=where,
        sealed=_from_environment(section, keys),
    )
    if not _can_be_built(section, route):
        return None
    _check_plain_ids(section, route)
    _check_needed_fields(section, route)
    return route


@dataclass(frozen=True, slots=True)
class _Section:
    """A route as it is written in the file, and where its faults are noted."""

    name: str
    raw: Mapping[str, Any]
    file: PlanFile

    @property
    def own(self) -> dict[str, Any]:
        """The keys of the route's target and mapper: those that not every route may have."""
        return {key: value for key, value in self.raw.items() if key not in _COMMON}

    def at(self, *path: str | int) -> Where:
        """Return where a key of the route is in the file."""
        return ("routes", self.name, *path)

    def fault(self, message: str, *path: str | int) -> None:
        """Note a fault of the route, or of the key at the path."""
        self.file.fault(self.at(*path), message)

    def found(self, find: Callable[[str], T], name: str, *path: str | int) -> T | None:
        """Return the plug-in that the key at the path names, or None with the fault noted."""
        try:
            return find(name)
        except PluginError as error:
            self.fault(f"found {self.file.shown(self.at(*path), name)}; {error}", *path)
            return None


@dataclass(frozen=True, slots=True)
class _Target:
    name: str
    type: TargetType


@dataclass(frozen=True, slots=True)
class _Mapper:
    """The mapper that a route names; neither type nor function where it is at fault."""

    name: str
    type: MapperType | None = None
    function: MapFunction | None = None
    digest: str = ""
    """The SHA-256 of the file of `function`."""


# --- keys that every route may have -----------------------------------------------------------------------------------


def _section(name: str, raw: Any, file: PlanFile) -> _Section | None:
    raw = {} if raw is None else raw
    if isinstance(raw, Mapping):
        return _Section(name, raw, file)
    where: Where = ("routes", name)
    example = next(iter(plugins.use_cases()))
    file.fault(where, f"found {file.shown(where, raw)}; write its keys under it, such as use_case: {example}")
    return None


def _common_keys(section: _Section) -> RouteKeys | None:
    """Return the keys that every route may have, without those at fault; None where too little is left to go on."""
    raw = section.raw
    common = {key: raw[key] for key in raw if key in _COMMON}
    keys = checked(RouteKeys, common, section.at(), section.file)
    if keys is not None:
        return keys
    keys = _without_faults(common, section)
    if keys.use_case is None and keys.target is None and not raw.keys().isdisjoint(("use_case", "target")):
        return None  # The fault is noted, and nothing says which other keys the route may have.
    return keys


def _without_faults(common: Mapping[str, Any], section: _Section) -> RouteKeys:
    """Return those of the keys that are right by themselves, so that the faults of the others are found as well."""
    apart = dataclasses.replace(section.file, faults=[])
    sound = {
        key: value for key, value in common.items() if checked(RouteKeys, {key: value}, section.at(), apart) is not None
    }
    return checked(RouteKeys, sound, section.at(), apart) or RouteKeys()


# --- target and mapper ------------------------------------------------------------------------------------------------


def _target(section: _Section, keys: RouteKeys, connections: Mapping[str, Any]) -> _Target | None:
    if keys.use_case is not None and keys.use_case not in plugins.use_cases():
        shown = section.file.shown(section.at("use_case"), keys.use_case)
        section.fault(f"found {shown}; {unknown(keys.use_case, plugins.use_cases(), 'use case')}", "use_case")
        if keys.target is None:
            return None
    name = keys.target or _usual(keys)[0]
    if name is None:
        misspelt = [key for key in section.own if difflib.get_close_matches(str(key), ("use_case", "target"), 1, 0.75)]
        for key in misspelt:
            section.fault(unknown(str(key), key_names(RouteKeys)), key)
        if misspelt:
            return None
        section.fault(f"has neither use_case nor target; write use_case, one of: {', '.join(plugins.use_cases())}")
        return None
    kind = section.found(plugins.target_type, name, "target" if keys.target else "use_case")
    if kind is None:
        return None
    if name not in connections:
        section.fault(f"goes to {name}, but there is no targets.{name}; write there how to connect to {name}")
    return _Target(name, kind)


def _mapper(section: _Section, keys: RouteKeys, target: _Target) -> _Mapper:
    if keys.use is not None:
        return _own_mapper(section, keys, keys.use)
    usual_target, usual_mapper = _usual(keys)
    name = keys.mapper or (usual_mapper if target.name == usual_target else None)
    if name is None:
        names = ", ".join(_mappers_for(target.name)) or "none is installed"
        at = ("mapper",) if "mapper" in section.raw else ()
        section.fault(
            f"has no mapper for {target.name}; allowed: {names}; or your own mapper, use: file.py:function", *at
        )
        return _Mapper("")
    return _Mapper(name, _built_in_mapper(section, keys, name, target))


def _own_mapper(section: _Section, keys: RouteKeys, use: str) -> _Mapper:
    if keys.mapper is not None:
        section.fault("found use and mapper; write one of them", "use")
    files = section.file.own_files
    function, digest = section.found(lambda _: user_function(use, files, keys.options), use, "use") or (None, "")
    return _Mapper(use, function=function, digest=digest)


def _built_in_mapper(section: _Section, keys: RouteKeys, name: str, target: _Target) -> MapperType | None:
    if name not in plugins.available(plugins.MAPPERS):
        shown = section.file.shown(section.at("mapper"), name)
        section.fault(
            f"found {shown}; {unknown(name, _mappers_for(target.name), f'mapper for {target.name}')}", "mapper"
        )
        return None
    if keys.options:
        section.fault(
            "is only for your own mapper (use:); write a built-in mapper's keys in the route itself", "options"
        )
    kind = section.found(plugins.mapper_type, name, "mapper")
    if kind is None or kind.target == target.name:
        return kind
    section.fault(
        f"{name!r} makes records for {kind.target}, not for {target.name}; allowed:"
        f" {', '.join(_mappers_for(target.name)) or 'none is installed'}",
        "mapper",
    )
    return None


def _usual(keys: RouteKeys) -> tuple[str, str] | tuple[None, None]:
    """Return the target and mapper that the route's use case picks."""
    return plugins.use_cases().get(keys.use_case or "", (None, None))


def _mappers_for(target_name: str) -> list[str]:
    return sorted(name for name in plugins.available(plugins.MAPPERS) if _makes_records_for(name, target_name))


def _makes_records_for(mapper_name: str, target_name: str) -> bool:
    try:
        return plugins.mapper_type(mapper_name).target == target_name
    except PluginError:
        return False


# --- keys of the target and of the mapper -----------------------------------------------------------------------------


def _own_keys(section: _Section, keys: RouteKeys, target: _Target, mapper: _Mapper) -> tuple[Any, Any]:
    """Return the target's placement and the mapper's options, None for one that is at fault or has none."""
    own = section.own
    for_target = plugins.placement_keys(target.type, mapper.type)
    for_mapper = _option_keys(keys, target, mapper)
    for key in [key for key in own if key not in for_target and key not in for_mapper][:MOST_FAULTS]:
        if len(section.file.faults) < MOST_FAULTS:
            section.fault(unknown(key, dict.fromkeys([*key_names(RouteKeys), *for_target, *for_mapper])), key)
    placed = {**declarations(mapper.type).PLACEMENT, **_only(own, for_target)}
    placement = checked(target.type.Placement, placed, section.at(), section.file)
    if mapper.type is None:
        return placement, None
    return placement, checked(mapper.type.Options, _only(own, for_mapper), section.at(), section.file)


def _option_keys(keys: RouteKeys, target: _Target, mapper: _Mapper) -> list[str]:
    if mapper.type is not None:
        return key_names(mapper.type.Options)
    if keys.use is not None:
        return []
    # The mapper is at fault; a key that another one knows may well be right.
    known = [key_names(plugins.mapper_type(name).Options) for name in _mappers_for(target.name)]
    return sorted({key for names in known for key in names})


def _only(keys: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: keys[name] for name in names if name in keys}


# --- keys that must suit each other -----------------------------------------------------------------------------------


def _check_lossless(section: _Section, keys: RouteKeys, options: Any) -> None:
    if option_declarations(options).fidelity == "lossless" and (keys.fields != Fields() or keys.transforms):
        section.fault(
            "lossless keeps documents as they are, `fields` and `transforms` change them; remove one of them",
            "fidelity",
        )


def _check_expiry_from_index(section: _Section, keys: RouteKeys) -> None:
    if section.own.get("expires") == FROM_INDEX and (keys.use is not None or keys.transforms):
        section.fault(
            "from_index needs documents as the source has them: a built-in mapper and no `transforms`; name the date"
            " field, or let your own mapper set the expiry",
            "expires",
        )


def _query(section: _Section, keys: RouteKeys) -> dict[str, Any]:
    try:
        return query.parsed(keys.where)
    except ValueError as error:
        section.fault(f"is not a MongoDB query: {error}", "where")
        return {}


def _check_transforms(section: _Section, keys: RouteKeys) -> None:
    fields = keys.fields
    for path, text in transform_faults(keys.transforms, keep=fields.keep, drop=fields.drop or ()):
        section.fault(text, "transforms", *path)
    for number, transform in enumerate(keys.transforms):
        for key in transform.secrets:
            path = ("transforms", number, transform.name, key)
            if section.at(*path) not in section.file.written:
                section.fault("is readable in the plan; put it in an environment variable and write ${NAME}", *path)


def _from_environment(section: _Section, keys: RouteKeys) -> frozenset[str]:
    """Return the options, and `where` and `transforms`, that hold something from the environment."""
    came = section.file.from_environment
    options = [f"options.{key}" for key in keys.options if came(section.at("options", key))]
    return frozenset([*options, *(key for key in ("where", "transforms") if came(section.at(key)))])


# --- a route whose keys are right by themselves -----------------------------------------------------------------------


def _can_be_built(section: _Section, route: Route) -> bool:
    """Return whether target and mapper take their keys together; note the fault of the first that does not.

    A value that could not be filled in has its fault already, and whatever is built with it would only add false ones.
    """
    if any(section.file.is_unfilled(where) for where in (section.at(), ("targets", route.target_name))):
        return False
    for build in (route.target, lambda: route.mapper(Losses())):
        try:
            build()
        except ValueError as error:
            key, _, rest = str(error).partition(": ")
            if rest and key in section.own:
                section.fault(rest, key)
            else:
                section.fault(str(error))
            return False
    return True


def _check_plain_ids(section: _Section, route: Route) -> None:
    plain = getattr(route.options, "id_encoding", "typed") == "plain"
    if plain and needed_fields.changes_identity(route.keys.transforms):
        section.fault("plain needs the `_id`s of the source, and transforms change them; set typed", "id_encoding")


def _check_needed_fields(section: _Section, route: Route) -> None:
    if route.function is None:
        for key, text in needed_fields.faults(route.options, route.keys):
            section.fault(text, key)
