"""The types of fields that Elasticsearch, OpenSearch and the plug-ins of their makers know."""

from __future__ import annotations

import difflib
from typing import Final

_OF_BOTH: Final = (
    *("alias", "annotated_text", "binary", "boolean", "byte", "completion", "constant_keyword", "date", "date_nanos"),
    *("date_range", "double", "double_range", "float", "float_range", "geo_point", "geo_shape", "half_float"),
    *("icu_collation_keyword", "integer", "integer_range", "ip", "ip_range", "join", "keyword", "long", "long_range"),
    *("match_only_text", "murmur3", "nested", "object", "percolator", "rank_feature", "rank_features", "scaled_float"),
    *("search_as_you_type", "short", "sparse_vector", "text", "token_count", "unsigned_long", "version", "wildcard"),
)
_OF_ELASTICSEARCH: Final = (
    *("aggregate_metric_double", "counted_keyword", "dense_vector", "exponential_histogram", "flattened", "histogram"),
    *("passthrough", "pattern_text", "patterned_text", "point", "rank_vectors", "semantic_text", "shape", "tdigest"),
)
_OF_OPENSEARCH: Final = ("derived", "flat_object", "hll", "knn_vector", "semantic", "xy_point", "xy_shape")
FIELD_TYPES: Final = frozenset((*_OF_BOTH, *_OF_ELASTICSEARCH, *_OF_OPENSEARCH))


def unknown_type(kind: str) -> str:
    """Return that there is no such type, and which may be meant; "" for a type that there is."""
    if kind in FIELD_TYPES:
        return ""
    close = difflib.get_close_matches(kind, sorted(FIELD_TYPES), 1)
    meant = f" (did you mean {close[0]!r}?)" if close else ""
    return f"no such type{meant}; correct it, or write {{type: ...}} for a type that a plug-in adds"
