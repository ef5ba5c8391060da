"""The index that a census leads to: the mapping of every field, and the answer to conflicting kinds (R81-R84).

A field's path is the names a document has, not the escaped ones of the index.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from mappers.census import KEYWORD_UNITS, MOST_FIELDS, Census, Node
from mappers.elasticsearch.records import FULL_ID
from mappers.values.field_names import elasticsearch_name

DEPTH_LIMIT = 20
"""Names of a field's path that an index takes unless told otherwise; an object ends one level above (R16)."""
ARRAY_LIMIT = 20
"""Arrays directly within arrays that OpenSearch takes in a mapped field; Elasticsearch takes any number."""
FIELD_LIMIT = 1000
"""Fields an index takes unless told otherwise: objects and multi-fields count too (R83)."""
KEYWORD: Mapping[str, Any] = {"type": "keyword", "ignore_above": KEYWORD_UNITS}
FLATTENED: Mapping[str, Any] = {"type": "flattened", "ignore_above": KEYWORD_UNITS}
DATE: Mapping[str, Any] = {"type": "date", "format": "strict_date_optional_time||epoch_millis"}

Conflict = Literal["keep", "json_string", "split", "reject"]
Path = tuple[str, ...]

# `enabled: false` takes any JSON value, a scalar too, and keeps it in _source without looking at it.
_UNSEARCHED: Mapping[str, Any] = {"type": "object", "enabled": False}
_TEXT: Mapping[str, Any] = {"type": "text", "fields": {"keyword": KEYWORD}}
_ALONE: Mapping[str, Mapping[str, Any]] = {
    "string": _TEXT,
    "id": KEYWORD,
    "decimal": KEYWORD,
    "binary": {"type": "binary"},
    "long": {"type": "long", "coerce": False},
    "double": {"type": "double", "coerce": False},
    "bool": {"type": "boolean"},
    "date": DATE,
    "tag": _UNSEARCHED,
}
FAMILIES: Mapping[str, str] = {
    "string": "str",
    "id": "str",
    "decimal": "str",
    "binary": "str",
    "long": "num",
    "double": "num",
    "bool": "bool",
    "date": "date",
    "object": "obj",
    "tag": "tag",
}
"""Kinds of value that one field of an index can hold together; two families in one field are a conflict (R82)."""
_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Wishes:
    """The plan's options on how fields are mapped."""

    conflict: Conflict = "keep"
    nested: Sequence[str] = ()
    geo: Sequence[str] = ()
    field_limit: int = FIELD_LIMIT


@dataclass(slots=True)
class _Field:
    """One field of the index: its definition, and its inner fields if it is an object with a mapping of its own."""

    definition: dict[str, Any]
    inner: dict[str, _Field] = field(default_factory=dict)
    height: int = 0

    def size(self) -> int:
        """Return how many fields it counts for."""
        return 1 + len(self.definition.get("fields", ())) + sum(entry.size() for entry in self.inner.values())

    def planned(self) -> bool:
        """Return whether the plan names the field, or a field within it."""
        asked = self.definition.get("type") in ("nested", "geo_point", "geo_shape")
        return asked or any(entry.planned() for entry in self.inner.values())

    def takes_text(self) -> bool:
        """Return whether an index takes any string for it."""
        return self.definition.get("type") in ("text", "keyword") or self.definition.get("enabled") is False

    def is_object(self) -> bool:
        """Return whether an index counts a level for it, its fields mapped or not."""
        return bool(self.inner) or self.definition.get("type") in ("object", "nested")

    def whole(self) -> dict[str, Any]:
        """Return the definition as the index takes it."""
        if not self.inner:
            return self.definition
        return {**self.definition, "properties": {name: entry.whole() for name, entry in self.inner.items()}}


def design(census: Census, wishes: Wishes) -> dict[str, Any]:
    """Return `properties`, the fields to `reshape`, `notes` for people, and what was `cut`, as JSON data.

    Raises ValueError, as ``key: text``, if no index fits the census.
    """
    return _Designer(wishes).design(census)


class _Designer:
    def __init__(self, wishes: Wishes) -> None:
        self._wishes = wishes
        self._nested = {tuple(path.split(".")) for path in wishes.nested}
        self._geo = {tuple(path.split(".")) for path in wishes.geo}
        self._reshape: list[dict[str, Any]] = []
        self._notes: dict[str, list[str]] = {}
        self._cut: list[str] = []

    def design(self, census: Census) -> dict[str, Any]:
        if census.root.crowded:
            raise ValueError(
                "census: documents have too many different fields at their top level; use fields: {keep: …}"
            )
        fields = self._fields(census.root, ())
        for path in sorted(self._nested | self._geo) if census.documents else ():
            raise ValueError(
                f"{'nested' if path in self._nested else 'geo'}: no document of the census has {'.'.join(path)}"
            )
        self._within_budget(fields)
        return {
            "properties": {name: entry.whole() for name, entry in fields.items()},
            "reshape": self._reshape,
            "notes": [f"{what}: {_listed(paths)}" for what, paths in self._notes.items()],
            "cut": [f"more than {MOST_FIELDS} fields in the census, so flattened: {_listed(self._cut)}"]
            if self._cut
            else [],
        }

    def _fields(self, node: Node, path: Path) -> dict[str, _Field]:
        fields: dict[str, _Field] = {}
        for name, child in sorted(node.children.items()):
            if name and not name.strip():
                # No index takes such a name: its documents are rejects, and the index is made without it.
                self._note("names that consist of spaces, which no index accepts", ".".join(path) or "the top level")
                continue
            for known, entry in self._field(child, (*path, name)).items():
                if known in fields or (known != name and known in node.children):
                    raise ValueError(
                        f"conflict: split needs the name {known}, which {'.'.join(path) or 'the document'} has"
                    )
                fields[known] = entry
        if not path and FULL_ID in fields and not fields[FULL_ID].takes_text():
            # Beside it stand the long ids of other documents, which are text.
            self._note("field of the name that offramp gives a long id, so kept but not searchable", FULL_ID)
            fields[FULL_ID] = _Field(dict(_UNSEARCHED))
        return {elasticsearch_name(name, not path): entry for name, entry in fields.items()}

    def _field(self, node: Node, path: Path) -> dict[str, _Field]:
        name = path[-1]
        kinds = Counter({kind: count for kind, count in node.kinds.items() if kind != "null"})
        if path in self._geo:
            self._geo.remove(path)
            return {name: _Field(dict(self._geographic(node, path)))}
        families = Counter[str]()
        for kind, count in kinds.items():
            families[FAMILIES[kind]] += count
        if path in self._nested and set(families) != {"obj"}:
            raise ValueError(f"nested: {'.'.join(path)} does not hold objects alone ({_counted(kinds)})")
        if len(families) <= 1:
            return {name: self._single_family(node, path, kinds)}
        where = f"{'.'.join(path)} ({_counted(kinds)})"
        if self._wishes.conflict == "keep":
            if families.keys() & {"obj", "tag"}:
                self._note("kinds conflict, so kept but not searchable", where)
                return {name: _Field(dict(_UNSEARCHED))}
            self._note("kinds conflict, so searchable as text", where)
            return {name: _Field(dict(_TEXT))}
        # By count, then by name: the same census always gives the same answer.
        most = min(families, key=lambda family: (-families[family], family))
        self._reshape.append({"path": list(path), "how": self._wishes.conflict, "family": most})
        if self._wishes.conflict == "json_string":
            self._note("kinds conflict, so written as JSON text", where)
            return {name: _Field({"type": "text"})}
        if self._wishes.conflict == "reject":
            self._note("kinds conflict, so documents with another kind than the most frequent are rejected", where)
            return {name: self._single_family(node, path, _of(kinds, most))}
        self._note("kinds conflict, so split by kind into fields of their own", where)
        return {f"{name}__{family}": self._single_family(node, path, _of(kinds, family)) for family in sorted(families)}

    def _single_family(self, node: Node, path: Path, kinds: Counter[str]) -> _Field:
        """Return the field of values of one family."""
        if not kinds:
            # Only null and empty arrays so far: strict indices know no field without a mapping, even if it is null.
            return _Field(dict(_UNSEARCHED))
        if "object" in kinds:
            return self._object(node, path)
        if node.long and "string" in kinds:
            self._note(
                f"strings over {KEYWORD_UNITS} characters, left out of keyword", f"{'.'.join(path)} ({node.long})"
            )
        if len(kinds) == 1:
            return _Field(dict(_ALONE[next(iter(kinds))]))
        if set(kinds) == {"long", "double"}:
            return _Field(dict(_ALONE["double"]))
        return _Field(dict(_TEXT if kinds.keys() & {"string", "binary"} else KEYWORD))

    def _object(self, node: Node, path: Path) -> _Field:
        nested = path in self._nested
        self._nested.discard(path)
        where = ".".join(path)
        if node.map_like():
            if node.cut:
                self._cut.append(where)
            else:
                self._note("names are keys, so flattened", where)
            return _flat(node.height)
        if not node.children:
            return _Field(dict(_UNSEARCHED))
        if len(path) >= DEPTH_LIMIT:
            return self._beyond(node, path, f"deeper than {DEPTH_LIMIT} levels", mapped=nested)
        if any(child.lists > ARRAY_LIMIT for child in node.children.values()):
            asked = any(wish[: len(path)] == path for wish in self._nested | self._geo)
            return self._beyond(node, path, f"arrays nested more than {ARRAY_LIMIT} deep", mapped=nested or asked)
        if node.repeated and not nested:
            self._note("arrays of objects, matched as one object unless listed in nested", where)
        inner = self._fields(node, path)
        if len(path) == DEPTH_LIMIT - 1 and any(entry.is_object() for entry in inner.values()):
            # Not even an object with `enabled: false` may end a path of DEPTH_LIMIT names: what is above takes it in.
            asked = any(entry.planned() for entry in inner.values())
            return self._beyond(node, path, f"deeper than {DEPTH_LIMIT} levels", mapped=nested or asked)
        if not inner and not nested:  # Every name within it is one that no index takes; a field needs a type.
            return _Field(dict(_UNSEARCHED))
        return _Field({"type": "nested"} if nested else {}, inner, node.height)

    def _beyond(self, node: Node, path: Path, what: str, *, mapped: bool) -> _Field:
        """Return the object flattened; raises ValueError where the plan wants it, or a field within it, mapped."""
        where = ".".join(path)
        if mapped:
            raise ValueError(f"nested, geo: {where} is or holds {what}, which no index maps; remove the path within it")
        self._note(f"{what}, so flattened", where)
        return _flat(node.height)

    def _geographic(self, node: Node, path: Path) -> Mapping[str, Any]:
        forms = Counter({form: count for form, count in node.geo.items() if count})
        if forms["other"] or (forms["pair"] and forms["shape"]) or not forms:
            raise ValueError(
                f"geo: {'.'.join(path)} must be GeoJSON throughout, or points as GeoJSON or [longitude, latitude]"
                f" within range; it is {_counted(forms)}"
            )
        return {"type": "geo_shape" if forms["shape"] else "geo_point"}

    def _within_budget(self, fields: dict[str, _Field]) -> None:
        """Flatten the largest objects until the index has no more fields than it allows (R83)."""
        limit = (
            self._wishes.field_limit - 2
        )  # For the whole of an id that had to be shortened, and a document's exact BSON.
        while (size := sum(entry.size() for entry in fields.values())) > limit:
            objects = [
                (-entry.size(), name, entry) for name, entry in fields.items() if entry.inner and not entry.planned()
            ]
            if not objects:
                raise ValueError(
                    f"field_limit: the documents need {size} fields and the index allows {limit}; keep fewer"
                    " fields with fields: {keep: …}, or raise field_limit"
                )
            _, name, largest = min(objects, key=lambda entry: entry[:2])
            inner = [
                (-entry.size(), below) for below, entry in largest.inner.items() if entry.inner and not entry.planned()
            ]
            # The largest of its own objects first, where that alone makes enough room.
            if inner and size + min(inner)[0] + 1 <= limit:
                below = min(inner)[1]
                largest.inner[below] = _flat(largest.inner[below].height)
                self._note("flattened to stay within field_limit", f"{name}.{below}")
            else:
                fields[name] = _flat(largest.height)
                self._note("flattened to stay within field_limit", name)

    def _note(self, what: str, path: str) -> None:
        self._notes.setdefault(what, []).append(path)


def _flat(height: int) -> _Field:
    if height > DEPTH_LIMIT:  # A flattened field has a limit of 20 levels of its own.
        return _Field(dict(_UNSEARCHED))
    return _Field(dict(FLATTENED), height=height)


def _of(kinds: Counter[str], family: str) -> Counter[str]:
    return Counter({kind: count for kind, count in kinds.items() if FAMILIES[kind] == family})


def _counted(kinds: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))


def _listed(paths: Sequence[str]) -> str:
    more = f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
    return ", ".join(paths[:_SHOWN]) + more
