"""What is wrong with a document's keys, all of it at once, and what to write in the plan."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mappers.contract import Document, KeyFault, MappingError
from mappers.dynamodb.keys import KeyAttribute, Value, key_fault

_TYPES = {"S": "text", "N": "a number", "B": "bytes"}

Keys = Sequence[tuple[KeyAttribute, int, Value]]


@dataclass(frozen=True, slots=True)
class KeyCheck:
    """The keys of a route, held against documents one by one."""

    table: Keys
    """The key attributes of the table."""
    indexes: Keys
    """Those of its indexes for which a document of another type is rejected."""
    added: Mapping[str, str]
    """Further attributes that no field may have, each with what to write where one has it."""

    def faults(self, document: Document, typed: str, attributes: Mapping[str, Any]) -> Iterator[KeyFault]:
        """Yield a fault for each key attribute that the document does not fit, and each name that a field has taken.

        A field that keys an index may be missing: the item is then not in the index.
        """
        keys = [(key, True) for key in self.table] + [(key, False) for key in self.indexes]
        for (declared, limit, make), is_table in keys:
            name = declared.attribute
            if not declared.own and name != "_id" and name in attributes:
                remedy = f"write {_as_yaml(declared, declared.type, _free(name, attributes))}"
                yield KeyFault(name, _TAKEN, remedy)
            try:
                value = make(document, typed, attributes)
            except MappingError as error:
                yield KeyFault(name, error.reason, self._instead(declared, error.field, is_table=is_table))
                continue
            if value is None:
                if is_table:
                    missing = " or ".join(path for path in declared.paths if path != "_id")
                    yield KeyFault(
                        name, f"is missing (field {missing})", self._instead(declared, missing, is_table=True)
                    )
                continue
            if fault := key_fault(value, declared.type, limit):
                yield self._described(declared, next(iter(value)), fault, attributes, is_table=is_table)
        for name, remedy in self.added.items():
            if name in attributes:
                yield KeyFault(name, _TAKEN, remedy)

    def _described(
        self, declared: KeyAttribute, actual: str, fault: str, attributes: Mapping[str, Any], *, is_table: bool
    ) -> KeyFault:
        name, path = declared.attribute, declared.path or ""
        if actual == declared.type:  # Its size is the fault.
            found = f"has a value that DynamoDB does not take ({fault})"
            return KeyFault(name, found, self._instead(declared, "", is_table=is_table))
        if actual in _TYPES:
            return KeyFault(
                name, f"is of type {actual} ({_TYPES[actual]})", f"write {_as_yaml(declared, actual, name)}"
            )
        found = f"is of type {actual}, which keys nothing"
        if actual != "BOOL":
            return KeyFault(name, found, self._instead(declared, path if actual == "NULL" else "", is_table=is_table))
        # A template makes text of true and false. Where it alone keys the table, the id keeps documents apart.
        template = f"{{{path}}}#{{_id}}" if is_table and len(self.table) == 1 else f"{{{path}}}"
        free = _free(name, attributes) if name in attributes else name
        return KeyFault(name, found, f"write {{name: {free}, value: '{template}'}}, or another field")

    def _instead(self, declared: KeyAttribute, path: str, *, is_table: bool) -> str:
        """Return what serves documents that have no key in this field; `path` is a field that they lack."""
        if not is_table:
            another = "set `index_mismatch: omit`"
        elif any(member.path == "_id" for member, _, _ in self.table):
            another = "remove it, as _id alone tells documents apart" if declared.path != "_id" else "choose type S"
        else:
            another = "write _id in its place"
        if not path or " or " in path or path == "_id":
            return f"{another}, or another field"
        return f"{another}, or exclude such documents with `where: {{{path}: {{$ne: null}}}}`"


_TAKEN = "is the name of a field too, so no document with that field is taken"


def _free(name: str, attributes: Mapping[str, Any]) -> str:
    """Return a name for a key attribute that none of these has."""
    free = f"{name}_key"
    while free in attributes:
        free += "_"
    return free


def _as_yaml(declared: KeyAttribute, kind: str, name: str) -> str:
    if declared.value is not None:
        return f"{{name: {name}, value: '{declared.value}'}}"
    field = f", field: {declared.path}" if declared.path != name else ""
    return f"{{name: {name}{field}, type: {kind}}}"
