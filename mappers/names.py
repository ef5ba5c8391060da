"""Field names: the reversible escapes that keep every name legal in its store and no two names the same (R8, R12)."""

from __future__ import annotations

from mappers.contract import MappingError

_DYNAMODB_NAME_LIMIT_BYTES = 65_535

# Names of Elasticsearch's own fields: a document that has one at its top level is refused.
_RESERVED = frozenset(
    (
        "_id",
        "_index",
        "_source",
        "_type",
        "_routing",
        "_field_names",
        "_ignored",
        "_meta",
        "_nested_path",
        "_doc_count",
        "_tier",
        "_seq_no",
        "_primary_term",
        "_size",
        "_version",
        "_ignored_source",
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
        raise MappingError("E-DDB-NAME", "", f"a name over the {_DYNAMODB_NAME_LIMIT_BYTES} bytes DynamoDB takes")
    return escaped


def elasticsearch_name(name: str, top: bool) -> str:
    """Return a name in which no dot is a path and, at the top level, nothing is one of Elasticsearch's own fields.

    ``%`` is always escaped, so that the escape is injective: a user's own ``a%2Eb`` stays apart from ``a.b``.
    """
    if not name:
        return "%00E"
    if top and name in _RESERVED:
        return "%5F" + name[1:]
    return tagged_name(name.replace("%", "%25").replace(".", "%2E"))
