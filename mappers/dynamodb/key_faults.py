"""What is wrong with a document's keys, all of it at once, and what to write in the plan."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mappers.contract import Document, KeyFault, MappingError
from mappers.dynamodb.keys import KeyAttribute, Value, key_fault

_TYPES = {"S": "text", "N": "a number", "B": "bytes"}

Keys = Sequence[tuple[KeyAttribute, int, Value]]


def key_faults(
    keys: Keys, index_keys: Keys, document: Document, typed: str, attributes: Mapping[str, Any]
) -> Iterator[KeyFault]:
    """Yield a fault for each key attribute of the table, and of an index, that the document does not fit.

    A field that keys an index may be missing: the item is then not in the index.
    """
    for required, members in ((True, keys), (False, index_keys)):
        for declared, limit, make in members:
            try:
                value = make(document, typed, attributes)
            except MappingError as error:
                yield KeyFault(declared.attribute, error.reason, "choose another field, or exclude them with where")
                continue
            if value is None:
                if required:
                    missing = " or ".join(path for path in declared.paths if path != "_id")
                    yield KeyFault(
                        declared.attribute,
                        f"is missing (field {missing})",
                        "choose another field, give it a default (transforms), or exclude such documents with where",
                    )
                continue
            fault = key_fault(value, declared.type, limit)
            if fault:
                yield _described(declared, next(iter(value)), fault)


def _described(declared: KeyAttribute, actual: str, fault: str) -> KeyFault:
    name = declared.attribute
    if actual == declared.type:  # Its size is the fault.
        return KeyFault(name, f"has a value that DynamoDB does not take ({fault})", "choose another field")
    if actual in _TYPES:
        return KeyFault(name, f"is of type {actual} ({_TYPES[actual]})", f"write {_as_yaml(declared, actual)}")
    # A template makes text of what is neither text, number nor bytes, such as true or false.
    template = f"{{name: {name}, value: '{{{declared.path}}}'}}"
    return KeyFault(name, f"is of type {actual}, which keys nothing", f"write {template}, or another field")


def _as_yaml(declared: KeyAttribute, kind: str) -> str:
    field = f", field: {declared.path}" if declared.path != declared.attribute else ""
    return f"{{name: {declared.attribute}{field}, type: {kind}}}"
