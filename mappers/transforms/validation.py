"""The faults of transforms, found when the plan loads: wrong paths, wrong arguments, steps that contradict."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mappers.transforms.casts import encodable
from mappers.transforms.steps import (
    CastKeys,
    ExplodeKeys,
    FlattenKeys,
    HashKeys,
    TemplateKeys,
    Transform,
    cast_default,
)
from mappers.values.key_templates import Template

Where = tuple[str | int, ...]
Fault = tuple[Where, str]
"""Where below `transforms` it stands, and what is wrong."""

_SALT_BYTES = range(16, 65)
"""BLAKE2b takes a key of at most 64 bytes; a short one can be guessed."""

_REPLACES = {"hash": "replaced", "redact": "replaced", "embed": "text", "flatten": "spread"}
_USELESS: Mapping[str, Iterable[str]] = {
    "replaced": ("cast", "hash", "redact", "flatten", "explode", "embed"),
    "text": ("cast", "flatten", "explode", "embed"),
    "spread": (),
}


def faults(
    transforms: Sequence[Transform], *, keep: Sequence[str] | None = None, drop: Sequence[str] = ()
) -> list[Fault]:
    """Return every fault of the transforms that follow `fields` with these lists; none means they compose."""
    known = _known(keep, drop)
    found: list[Fault] = []
    for at, transform in enumerate(transforms):
        (name,) = transform.named
        keys = getattr(transform, name)
        told = [((at, name, *where), text) for where, text in _CHECKS[name](keys)]
        if not told:  # What a step with faults leaves behind is nobody's guess.
            told = [((at, name, *where), text) for where, text in known.follow(name, keys, f"transforms.{at}.{name}")]
        found += told
    return found


def lacking(
    transforms: Sequence[Transform], path: str, *, keep: Sequence[str] | None = None, drop: Sequence[str] = ()
) -> str | None:
    """Return why no document has the field after these transforms, which have no faults; None where one may."""
    known = _known(keep, drop)
    for at, transform in enumerate(transforms):
        (name,) = transform.named
        list(known.follow(name, getattr(transform, name), f"transforms.{at}.{name}"))
    return known.lacking(path, "")


def undating(transforms: Sequence[Transform], path: str) -> str | None:
    """Return which of the transforms leaves something else than a date in the field, None where none does."""
    by: str | None = None
    for at, transform in enumerate(transforms):
        (name,) = transform.named
        keys = getattr(transform, name)
        if name == "cast" and path in keys.fields:
            by = None if keys.fields[path] == "date" else f"transforms.{at}.cast"
        elif (name == "hash" and path in keys.fields) or (name == "embed" and path in keys):
            by = f"transforms.{at}.{name}"
        elif path in _made(name, keys):
            by = None
    return by


def _known(keep: Sequence[str] | None, drop: Sequence[str]) -> _Known:
    known = _Known()
    if keep is not None:
        known.select(keep, "fields.keep")
    for path in drop:
        known.remove(path, "fields.drop")
    return known


# --- each transform by itself -----------------------------------------------------------------------------------------


def _path(where: Where, path: str, *, whole_id: bool = False) -> Iterator[Fault]:
    """Give what is wrong with a path: an empty name, or `_id` where it may not be changed."""
    names = path.split(".")
    if any(not name or "\0" in name for name in names):
        yield where, f"found {path!r}, which has an empty field name; write a dotted path such as address.city"
    elif names[0] == "_id" and not (whole_id and path == "_id"):
        yield where, "_id and its parts cannot be changed here: _id identifies the document in the target"


def _paths(places: Mapping[Where, str], *, whole_id: bool = False) -> Iterator[Fault]:
    """Give what is wrong with the paths of one step, none of which may be another, or lie within it."""
    if not places:
        yield (), "is empty; name at least one field"
    earlier: list[str] = []
    for where, path in places.items():
        yield from _path(where, path, whole_id=whole_id)
        yield from ((where, f"found {path!r} beside {other!r}; keep one") for other in earlier if _overlap(path, other))
        earlier.append(path)


def _listed(paths: Sequence[str], *below: str) -> dict[Where, str]:
    return {(*below, at): path for at, path in enumerate(paths)}


def _keyed(paths: Iterable[str], *below: str) -> dict[Where, str]:
    return {(*below, path): path for path in paths}


def _overlap(one: str, other: str) -> bool:
    return _within(one, other) or _within(other, one)


def _within(path: str, parent: str) -> bool:
    return path == parent or path.startswith(parent + ".")


def _name(where: Where, name: str, top: bool) -> Iterator[Fault]:
    if not name or "\0" in name or "." in name:
        yield where, f"found {name!r}; write one name without dots (move takes a path)"
    elif top and name == "_id":
        yield where, "no other field can become _id: it identifies the document in the target"


def _select(paths: Sequence[str]) -> Iterator[Fault]:
    for at, path in enumerate(paths):
        if not all(path.split(".")):
            yield from _path((at,), path)


def _drop(paths: Sequence[str]) -> Iterator[Fault]:
    if not paths:
        yield (), "is empty; name at least one field"
    for at, path in enumerate(paths):
        yield from _path((at,), path)


def _rename(names: Mapping[str, str]) -> Iterator[Fault]:
    yield from _paths(_keyed(names))
    taken: dict[str, str] = {}
    for path, name in names.items():
        parent, dot, old = path.rpartition(".")
        yield from _name((path,), name, top=not dot)
        if name == old:
            yield (path,), f"is called {name!r} already"
        new = parent + dot + name
        if new in taken:
            yield (path,), f"becomes {new!r}, and so does {taken[new]!r}; give each its own name"
        taken[new] = path


def _move(paths: Mapping[str, str]) -> Iterator[Fault]:
    yield from _paths(_keyed(paths))
    earlier: dict[str, str] = {}
    for source, destination in paths.items():
        yield from _path((source,), destination)
        if _within(destination, source):
            yield (source,), f"cannot go to {destination!r}, which is its own path or inside it"
        for other, its in earlier.items():
            if _overlap(destination, other):
                yield (source,), f"goes to {destination!r}, and {its!r} to {other!r}; give each its own place"
        earlier[destination] = source


def _cast(keys: CastKeys) -> Iterator[Fault]:
    yield from _below("fields", _paths(_keyed(keys.fields)))
    for path, value in keys.default.items():
        if path not in keys.fields:
            yield ("default", path), f"is not a field of this cast; allowed: {', '.join(keys.fields)}"
            continue
        try:
            cast_default(value, keys.fields[path])
        except ValueError as error:
            yield ("default", path), f"is neither null nor a valid {keys.fields[path]}: {error}"


def _default(values: Mapping[str, Any]) -> Iterator[Fault]:
    yield from _paths(_keyed(values))
    yield from _encodable(values)


def _encodable(values: Mapping[str, Any]) -> Iterator[Fault]:
    for path, value in values.items():
        try:
            encodable(value)
        except ValueError as error:
            yield (path,), str(error)


def _template(keys: TemplateKeys) -> Iterator[Fault]:
    yield from _below("fields", _paths(_keyed(keys.fields)))
    for path, text in keys.fields.items():
        try:
            Template.parse(text)
        except ValueError as error:
            yield ("fields", path), str(error)
    for path in keys.default:
        if path not in keys.fields:
            yield ("default", path), f"is not a field of this template; allowed: {', '.join(keys.fields)}"


def _hash(keys: HashKeys) -> Iterator[Fault]:
    yield from _below("fields", _paths(_listed(keys.fields), whole_id=True))
    if len(keys.salt.encode(errors="surrogateescape")) not in _SALT_BYTES:
        yield ("salt",), f"has less than {_SALT_BYTES[0]} bytes, which can be guessed, or more than {_SALT_BYTES[-1]}"


def _redact(values: Mapping[str, Any]) -> Iterator[Fault]:
    yield from _default(values)


def _flatten(keys: FlattenKeys) -> Iterator[Fault]:
    if keys.fields is not None:
        yield from _below("fields", _paths(_listed(keys.fields)))
    if not keys.separator or "\0" in keys.separator:
        yield ("separator",), "is empty; names of different depth could become the same"


def _explode(keys: ExplodeKeys) -> Iterator[Fault]:
    yield from _below("field", _path((), keys.field))
    if keys.id is not None and not all(keys.id.split(".")):
        yield ("id",), f"found {keys.id!r}; write a field of the elements, such as sku"
    if keys.position is not None:
        yield from _name(("position",), keys.position, top=True)
        if keys.position == keys.field:
            yield ("position",), "is the field of the element itself; choose another name"


def _embed(paths: Sequence[str]) -> Iterator[Fault]:
    yield from _paths(_listed(paths))


def _below(key: str, told: Iterable[Fault]) -> Iterator[Fault]:
    yield from (((key, *where), text) for where, text in told)


_CHECKS: Mapping[str, Callable[[Any], Iterator[Fault]]] = {
    "select": _select,
    "drop": _drop,
    "rename": _rename,
    "move": _move,
    "cast": _cast,
    "default": _default,
    "template": _template,
    "hash": _hash,
    "redact": _redact,
    "flatten": _flatten,
    "explode": _explode,
    "embed": _embed,
}


# --- one after another ------------------------------------------------------------------------------------------------


@dataclass
class _Known:
    """What is known of every document between two steps, whatever the collection holds."""

    absent: dict[str, str] = field(default_factory=dict)
    """Fields that no document has any more, and the step that took them."""
    selected: list[tuple[set[str], str]] = field(default_factory=list)
    """All that a step kept, with what was made after it."""
    values: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Fields that hold what a step put there, of which kind, and the step: nothing is within them."""
    flattened: list[str] = field(default_factory=list)
    """How names may begin that a step has made of the fields of objects."""

    def select(self, paths: Iterable[str], step: str) -> None:
        self.selected.append(({*paths, "_id"}, step))

    def remove(self, path: str, step: str) -> None:
        self.absent[path] = step

    def make(self, path: str) -> None:
        self.absent = {gone: step for gone, step in self.absent.items() if not _overlap(gone, path)}
        self.values = {there: value for there, value in self.values.items() if not _within(there, path)}
        for paths, _ in self.selected:
            paths.add(path)

    def lacking(self, path: str, step: str) -> str | None:
        """Return why no document has the field when it comes to a step of this name, or None."""
        if path.startswith(tuple(self.flattened)):
            return None
        for gone, by in self.absent.items():
            if _within(path, gone):
                return f"no document has {path} at this point: {by} removes {gone}"
        for paths, by in self.selected:
            if not any(_overlap(path, kept) for kept in paths):
                return f"no document has {path} at this point: {by} does not keep it"
        for there, (kind, by) in self.values.items():
            if _within(path, there) and (path != there or step in _USELESS[kind]):
                done = (
                    f"moved the fields of {there} up" if kind == "spread" else f"put another value in place of {there}"
                )
                return f"{by} has {done} already"
        return None

    def follow(self, name: str, keys: Any, step: str) -> Iterator[Fault]:
        """Give what of the step can never apply, and know what documents are after it."""
        for where, path in _read(name, keys):
            told = self.lacking(path, name)
            if told is not None:
                yield where, told
        if name == "select":
            self.select(keys, step)
        if name in ("drop", "rename", "move"):
            for path in keys:
                self.remove(path, step)
        for path in _made(name, keys):
            self.make(path)
        if name == "flatten":
            self.flattened += [path + keys.separator for path in keys.fields] if keys.fields else [""]
        if name in _REPLACES:
            for _, path in _read(name, keys):
                self.values[path] = (_REPLACES[name], step)


def _read(name: str, keys: Any) -> list[tuple[Where, str]]:
    """Return the fields a step is about, where they must be for it to do anything."""
    match name:
        case "rename" | "move" | "redact":
            return list(_keyed(keys).items())
        case "embed":
            return list(_listed(keys).items())
        case "cast":
            return [place for place in _keyed(keys.fields, "fields").items() if place[1] not in keys.default]
        case "hash" | "flatten":
            return list(_listed(keys.fields or (), "fields").items())
        case "template":
            needed = [(path, Template.parse(text).paths) for path, text in keys.fields.items()]
            return [(("fields", path), part) for path, parts in needed for part in parts]
        case "explode":
            return [(("field",), keys.field)]
    return []


def _made(name: str, keys: Any) -> list[str]:
    """Return the fields a step may bring into a document."""
    match name:
        case "rename":
            return [path.rpartition(".")[0] + "." * ("." in path) + new for path, new in keys.items()]
        case "move":
            return list(keys.values())
        case "default":
            return list(keys)
        case "cast":
            return list(keys.default)
        case "template":
            return list(keys.fields)
        case "explode":
            return [] if keys.position is None else [keys.position]
    return []
