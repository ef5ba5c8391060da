"""Field names: the reversible escapes that keep every name legal in its store and no two names the same (R8, R12)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mappers.contract import MappingError

_DYNAMODB_NAME_LIMIT_BYTES = 65_535

# Names of the metadata fields of Elasticsearch 7 to 9 and OpenSearch 1 to 3. A document that has one at its top level
# is refused, and so is an index that maps one. Which server has which: `initBuiltInMetadataMappers` of IndicesModule
# and `getMetadataMappers` of the modules it ships with. One list serves all, so that a record is the same everywhere.
# Any other name that begins with an underscore is a user's, such as Spring's `_class`, and stays as it is.
RESERVED = frozenset(
    (
        "_id",
        "_index",
        "_source",
        "_type",  # Elasticsearch 7, OpenSearch 1
        "_routing",
        "_field_names",
        "_ignored",
        "_meta",
        "_nested_path",
        "_doc_count",
        "_tier",  # Elasticsearch
        "_seq_no",
        "_primary_term",
        "_size",  # the plug-in mapper-size
        "_version",
        "_ignored_source",  # Elasticsearch 8 and later
        "_feature",  # the module mapper-extras
        "_data_stream_timestamp",
        "_tsid",  # Elasticsearch 8 and later
        "_ts_routing_hash",  # Elasticsearch 8 and later
        "_index_mode",  # Elasticsearch 8 and later
        "_inference_fields",  # Elasticsearch 8 and later
    )
)


def tagged_name(name: str) -> str:
    """Return the name with one more ``$`` if it starts with one, so that no user field looks like a type tag (R8)."""
    return "$" + name if name.startswith("$") else name


def dynamodb_name(name: str) -> str:
    """Return a name DynamoDB takes; the empty one, which it refuses, becomes ``%00E``.

    Raises MappingError for a name of 64 KB and more.
    """
    if not name:
        return "%00E"
    escaped = tagged_name("%25" + name[1:] if name[0] == "%" else name)
    if len(escaped) * 4 > _DYNAMODB_NAME_LIMIT_BYTES and len(escaped.encode()) > _DYNAMODB_NAME_LIMIT_BYTES:
        raise MappingError(
            "E-DDB-NAME", "", f"a name longer than the {_DYNAMODB_NAME_LIMIT_BYTES} bytes that DynamoDB allows"
        )
    return escaped


def elasticsearch_name(name: str, top: bool) -> str:
    """Return a name in which no dot is a path and, at the top level, nothing is one of Elasticsearch's own fields.

    ``%`` is always escaped, so that the escape is injective: a user's own ``a%2Eb`` stays apart from ``a.b``.
    """
    if not name:
        return "%00E"
    if top and name in RESERVED:
        return "%5F" + name[1:]
    return tagged_name(name.replace("%", "%25").replace(".", "%2E"))


def unescaped(name: str, escaped: str) -> str:
    """Return the name if it needs no escape; raises MappingError if it does (`name_escape: reject`)."""
    if name != escaped:
        raise MappingError("E-MAP-NAME", "", "a name that must be escaped; set values: {name_escape: percent}")
    return name


def spread(fields: Mapping[str, Any], lose: Callable[[str], None], at: str = "") -> dict[str, Any]:
    """Return the object with each dotted name turned into a path: `a.b` is the field b of the object a.

    `lose` gets the path of each such name. `at` is the object's own path and a dot, or "". Raises
    MappingError for two fields at one path, and for a path with an empty part, which Elasticsearch does not take.
    """
    spread_fields: dict[str, Any] = {}
    for name, value in fields.items():
        inner = _spread(value, lose, f"{at}{name}.")
        *above, last = name.split(".")
        if above:
            if not all((*above, last)):
                raise MappingError(
                    "E-ES-NAME",
                    at + name,
                    "a name that begins or ends with a dot, or has two dots in a row, is not a path",
                )
            lose(at + name)
        holder = spread_fields
        for part in above:
            holder = holder.setdefault(part, {})
            if not isinstance(holder, dict):
                raise _meets(at + name)
        _put(holder, last, inner, at + name)
    return spread_fields


def name_collision(name: str) -> MappingError:
    """Return the error of a document that has a field of this name, which offramp needs for itself."""
    return MappingError(
        "E-NAME-COLLISION", name, "the document has a field of this name, which offramp needs for itself"
    )


def _spread(value: Any, lose: Callable[[str], None], at: str) -> Any:
    if isinstance(value, Mapping):
        return spread(value, lose, at)
    return [_spread(element, lose, at) for element in value] if isinstance(value, list) else value


def _put(holder: dict[str, Any], name: str, value: Any, path: str) -> None:
    if name not in holder:
        holder[name] = value
        return
    present = holder[name]
    if not isinstance(present, dict) or not isinstance(value, dict):
        raise _meets(path)
    for below, inner in value.items():
        _put(present, below, inner, f"{path}.{below}")


def _meets(path: str) -> MappingError:
    return MappingError("E-NAME-COLLISION", path, "the document has another field at this path")
