"""The targets and mappers that a plan can name by entry point."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import is_dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, cast

from flows.plan.validation import unknown
from mappers.census import Designer
from mappers.contract import (
    Addressing,
    MapperDeclarations,
    MapperType,
    OptionDeclarations,
    Recognizing,
    Straight,
    declarations,
)
from stores.contract.target import TargetType, undeclared, unfinished
from stores.errors import origin

TARGETS = "offramp.targets"
MAPPERS = "offramp.mappers"
DISTRIBUTION = "mongo-offramp"
"""The distribution of the targets and mappers that offramp brings."""


class PluginError(ValueError):
    """A plan names a plug-in that is not there or cannot be used; the text says what there is."""


@cache
def available(group: str) -> Mapping[str, EntryPoint]:
    """Return the installed entry points of a group by name."""
    return {point.name: point for point in entry_points(group=group)}


def target_type(name: str) -> TargetType:
    """Return the target of this name.

    Raises PluginError, with the names of those installed, where it cannot be loaded. Raises it also for a class that
    has what an ability of `stores.contract` asks for but does not inherit it, or inherits it and lacks something.
    """
    return cast(TargetType, _load(TARGETS, name, "target", ("Connection", "Placement"), undeclared))


def mapper_type(name: str) -> MapperType:
    """Return the mapper of this name.

    Raises PluginError, with the names of those installed, where it cannot be loaded. Raises it also for a class, or its
    Options, that has what `mappers.contract` gives a meaning to but does not inherit it.
    """
    return cast(MapperType, _load(MAPPERS, name, "mapper", ("Options", "target"), _undeclared))


def _undeclared(mapper: Any) -> Iterator[str]:
    """Yield a sentence for each class of the contract that a mapper looks like and does not inherit."""
    for ability in (Addressing, Recognizing, Straight, Designer):
        names: Iterable[str] = ability.__abstractmethods__
        if not issubclass(mapper, ability) and all(hasattr(mapper, name) for name in names):
            yield _likeness(mapper, ability, names)
    for kind, declared in ((mapper, MapperDeclarations), (mapper.Options, OptionDeclarations)):
        own = {*dir(kind), *getattr(kind, "__dataclass_fields__", ())}
        names = [name for name in vars(declared) if not name.startswith("_") and name in own]
        if names and not issubclass(kind, declared):
            yield _likeness(kind, declared, names)


def _likeness(kind: type, base: type, names: Iterable[str]) -> str:
    return (
        f"{kind.__name__} has {' and '.join(f'`{name}`' for name in sorted(names))}, to which {base.__name__} gives a"
        f" meaning, but does not inherit it; write class {kind.__name__}({base.__name__}), from {base.__module__}, or"
        " choose another name"
    )


@cache
def use_cases() -> Mapping[str, tuple[str, str]]:
    """Return the target and the mapper that each use case picks, as the installed mappers say.

    Where two mappers name the same use case, it picks that of offramp itself, else the one whose name is first.
    """
    named: list[tuple[bool, str, str, str]] = []
    for name, point in available(MAPPERS).items():
        try:
            kind = mapper_type(name)
        except PluginError:  # A plan that names this mapper is told why.
            continue
        named += [(not _is_own(point), kind.target, name, case) for case in declarations(kind).use_cases]
    picked: dict[str, tuple[str, str]] = {}
    for _, target, name, case in sorted(named, key=lambda each: each[:3]):
        picked.setdefault(case, (target, name))
    return picked


def _is_own(point: EntryPoint) -> bool:
    return point.dist is not None and point.dist.name == DISTRIBUTION


def _load(
    group: str, name: str, kind: str, attributes: Iterable[str], undeclared_of: Callable[[type], Iterable[str]]
) -> Any:
    points = available(group)
    if name not in points:
        raise PluginError(unknown(name, sorted(points), kind))
    where = f"the {kind} installed under this name ({points[name].value})"
    try:
        plugin = points[name].load()
    except Exception as error:  # Another distribution's code may raise anything while it is imported.
        raise PluginError(f"{where} cannot be imported: {import_failure(error)}") from error
    lacking = [attribute for attribute in attributes if not hasattr(plugin, attribute)]
    if lacking:
        raise PluginError(f"{where} lacks {' and '.join(lacking)}")
    for attribute in attributes:
        keys = getattr(plugin, attribute)
        if isinstance(keys, type) and not is_dataclass(keys):
            raise PluginError(f"{where}: {attribute} is not a dataclass")
    if isinstance(plugin, type):
        if names := unfinished(plugin):
            raise PluginError(f"{where} lacks {' and '.join(names)} of an ability that it inherits")
        if sentences := [*undeclared_of(plugin)]:
            raise PluginError(f"{where}: {'; '.join(sentences)}")
    return plugin


def import_failure(error: BaseException) -> str:
    """Return why code cannot be loaded: the error and its line, without its text, which may hold what the code read."""
    if isinstance(error, SyntaxError):
        return f"SyntaxError at {Path(error.filename or '?').name} line {error.lineno}: {error.msg}"
    if isinstance(error, ModuleNotFoundError) and error.name:
        return f"{origin(error)}: no module {error.name!r}"
    return origin(error)


def placement_keys(target: TargetType, mapper: MapperType | None) -> list[str]:
    """Return the keys that a route to the target may have beside this mapper's, or beside the user's own mapper.

    Keys of a target's `REPEATED` repeat keys of a mapper, so they are refused beside a mapper without them.
    Keys of its `BUILT_IN` are refused beside the user's own mapper.
    """
    names = list(target.Placement.__dataclass_fields__)  # type: ignore[attr-defined]
    if mapper is None:
        fulfilled: frozenset[str] = getattr(target, "BUILT_IN", frozenset())
        return [name for name in names if name not in fulfilled]
    repeated: frozenset[str] = getattr(target, "REPEATED", frozenset())
    return [name for name in names if name not in repeated or name in mapper.Options.__dataclass_fields__]  # type: ignore[attr-defined]
