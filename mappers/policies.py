"""The policies of a route for values (its key `values`). By default nothing is lost; every loss is counted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

Fidelity = Literal["native", "lossless"]
"""native: the document in the store's own types. lossless: its exact BSON beside them, checked for each document."""

Nonfinite = Literal["tag", "as_null", "reject"]
LegacyUuid = Literal["keep_binary", "python", "java", "csharp"]
Duplicates = Literal["reject", "last", "first", "array"]
BrokenText = Literal["reject", "replace", "tag_bytes"]
Names = Literal["percent", "reject"]


class Anomalies(Protocol):
    """What to do with bytes a decoder would change or refuse."""

    @property
    def duplicates(self) -> Duplicates:
        """Two fields of one name in an object."""

    @property
    def utf8(self) -> BrokenText:
        """A string that is not valid UTF-8."""


# Each form has a class of its own, with the keys that mean something there; the words that repeat become the schema's.


@dataclass(frozen=True)
class ItemPolicies:
    """Policies for values in DynamoDB items."""

    nonfinite: Nonfinite = "tag"
    """NaN and infinities, double or decimal: tag keeps them, as_null is a loss."""
    neg_zero: Literal["tag", "zero"] = "tag"
    """-0.0 and decimal -0: tag keeps the sign, zero is a loss."""
    decimal_scale: Literal["value", "tag"] = "value"
    """A decimal such as 1.10: value writes the number 1.1, tag keeps a decimal that DynamoDB would write otherwise."""
    uuid_legacy: LegacyUuid = "keep_binary"
    """Binary subtype 3: tagged binary, or a UUID's text in the byte order of the driver that wrote it (R9)."""
    depth_overflow: Literal["reject", "json_string"] = "reject"
    """What is nested too deep for DynamoDB: json_string writes it as a string of JSON and is a loss (R16)."""
    duplicates: Duplicates = "reject"
    """Two fields of one name in an object: all but reject are a loss (R13)."""
    utf8: BrokenText = "reject"
    """A string that is not UTF-8: replace puts U+FFFD for what is wrong and is a loss, tag_bytes keeps it (R14)."""
    name_escape: Names = "percent"
    """Field names DynamoDB cannot take, or that look like a tag: percent escapes them, reject the document (R12)."""


@dataclass(frozen=True)
class JsonPolicies:
    """Policies for values in JSON: a Redis string."""

    nonfinite: Nonfinite = "tag"
    """NaN and infinities, double or decimal: tag keeps them, as_null is a loss."""
    uuid_legacy: LegacyUuid = "keep_binary"
    """Binary subtype 3: tagged binary, or a UUID's text in the byte order of the driver that wrote it (R9)."""
    int53: Literal["number", "string"] = "number"
    """Integers past 2^53, which JavaScript and Lua round when they read them: as numbers or as strings (R18)."""
    duplicates: Duplicates = "reject"
    """Two fields of one name in an object: all but reject are a loss (R13)."""
    utf8: BrokenText = "reject"
    """A string that is not UTF-8: replace puts U+FFFD for what is wrong and is a loss, tag_bytes keeps it (R14)."""
    name_escape: Names = "percent"
    """Field names that begin with $, as tags do: percent gives them one more $, reject the document (R8, R12)."""


@dataclass(frozen=True)
class IndexPolicies:
    """Policies for values in Elasticsearch documents."""

    nonfinite: Nonfinite = "tag"
    """NaN and infinities, double or decimal: tag keeps them, as_null is a loss."""
    uuid_legacy: LegacyUuid = "keep_binary"
    """Binary subtype 3: tagged binary, or a UUID's text in the byte order of the driver that wrote it (R9)."""
    int53: Literal["number", "string"] = "number"
    """Integers past 2^53, which JavaScript and Lua round when they read them: as numbers or as strings (R18)."""
    duplicates: Duplicates = "reject"
    """Two fields of one name in an object: all but reject are a loss (R13)."""
    utf8: BrokenText = "reject"
    """A string that is not UTF-8: replace puts U+FFFD for what is wrong and is a loss, tag_bytes keeps it (R14)."""
    name_escape: Literal["percent", "paths", "reject"] = "percent"
    """Field names with dots, or that Elasticsearch cannot take: percent escapes them; paths makes `a.b` the field b of
    an object a, which is a loss, and escapes the others; reject the document (R12)."""


@dataclass(frozen=True)
class HashPolicies:
    """Policies for values in the fields of a Redis hash."""

    nulls: Literal["tag", "omit", "empty"] = "tag"
    r"""A top-level null: the tag \x00null, no field at all, or the empty string; the last two are a loss (R19)."""
    nonfinite: Nonfinite = "tag"
    """NaN and infinities, double or decimal: tag keeps them, as_null is a loss."""
    uuid_legacy: LegacyUuid = "keep_binary"
    """Binary subtype 3: tagged binary, or a UUID's text in the byte order of the driver that wrote it (R9)."""
    int53: Literal["number", "string"] = "number"
    """Integers past 2^53 within nested values, which JavaScript and Lua round: as numbers or as strings (R18)."""
    duplicates: Duplicates = "reject"
    """Two fields of one name in an object: all but reject are a loss (R13)."""
    utf8: BrokenText = "reject"
    """A string that is not UTF-8: replace puts U+FFFD for what is wrong and is a loss, tag_bytes keeps it (R14)."""
    name_escape: Names = "percent"
    """Names within nested values that begin with $, as tags do: percent gives them one more $, reject the document."""


ITEM_POLICIES = ItemPolicies()
JSON_POLICIES = JsonPolicies()
INDEX_POLICIES = IndexPolicies()
HASH_POLICIES = HashPolicies()
"""The policies of a route that sets none."""


class Shared(Protocol):
    """The policies that every form has."""

    @property
    def nonfinite(self) -> Nonfinite:
        """NaN and infinities."""

    @property
    def uuid_legacy(self) -> LegacyUuid:
        """Binary subtype 3."""


LOSSES: dict[str, str] = {
    "nonfinite_null": "`nonfinite: as_null` wrote null for NaN or an infinity",
    "neg_zero": "the sign of a zero: `neg_zero: zero`, or a sorted set's score",
    "depth_json": "`depth_overflow: json_string` wrote what was nested too deeply as a JSON string",
    "duplicates_last": "`duplicates: last` left out all but the last of several fields of one name",
    "duplicates_first": "`duplicates: first` left out all but the first",
    "duplicates_array": "`duplicates: array` made one array of their values",
    "utf8_replaced": "`utf8: replace` put U+FFFD in place of bytes that are not UTF-8",
    "name_path": "`name_escape: paths` wrote `a.b` as the field b of an object a, so `a.b` and `{a: {b: …}}` became"
    " the same",
    "null_omitted": "`nulls: omit` left out a null field of a hash",
    "null_empty": "`nulls: empty` wrote an empty string for null",
    "score_rounded": "a sorted set's score is a double, which rounds integers past 2^53 and most decimals",
    "geo_rounded": "a place is stored as the 52-bit cell that contains it, about 0.6 m wide",
    "geo_altitude": "the altitude of a place, which a Redis geo set does not hold",
    "set_duplicate": "a set holds an element once, even if the array holds it more often",
    "set_empty": "`empty_sets: omit` left out an empty array listed in `sets`",
    "binary_subtype": "`format: raw` holds bytes without their BSON subtype",
    "index_omitted": "a field that cannot key its index is in `_unindexed`, and the item is not in the index",
    "index_coerced": "a field was converted to its index's type; the exact value is in `_unindexed`",
    "cast_default": "a cast wrote its `default` for a value that it could not cast",
    "cast_rounded": "a `lossy` cast gave another value",
    "cast_respelled": "a cast wrote the same value in another form (1.10 as 1.1)",
}
"""Every kind of loss there is, and what was lost."""
