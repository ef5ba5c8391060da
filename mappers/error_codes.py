"""The codes by which mappers and transforms reject a document: what each means and what to do (docs/errors.md)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

Effect = Literal["refused", "rejected", "paused", "stopped", "noted"]

EFFECTS: Mapping[Effect, str] = {
    "refused": "Nothing was written: the plan or the command was refused (exit code 2).",
    "rejected": (
        "The document was not written, or not whole, and is kept as a reject with its `_id`, code and reason; the route"
        " went on, and its verdict is not clean (exit code 1)."
    ),
    "paused": (
        "The route stopped at a checkpoint after its retries; the other routes went on. Nothing is lost, and the same"
        " command resumes (exit code 3)."
    ),
    "stopped": (
        "The route stopped at a checkpoint, at once; the other routes went on. Once the cause is gone, the same command"
        " resumes, unless another one is named here (exit code 3)."
    ),
    "noted": "The run went on; the note does not change the verdict.",
}
"""What the tool did, by the kind of error."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What a code says to a person."""

    effects: tuple[Effect, ...]
    meaning: str
    """What was found."""
    remedy: str
    """What to do."""


def entry(effects: str, meaning: str, remedy: str) -> Entry:
    """Return the entry; `effects` are words of EFFECTS with spaces between, or ValueError."""
    known = get_args(Effect)
    chosen: list[Effect] = [effect for word in effects.split() for effect in known if effect == word]
    if not chosen or len(chosen) < len(effects.split()):
        raise ValueError(f"{effects!r} are not effects: {', '.join(known)}")
    return Entry(tuple(chosen), meaning, remedy)


CODES: Mapping[str, Entry] = {
    "E-DDB-DEPTH": entry(
        "rejected",
        "The document is nested deeper than the levels a DynamoDB item may have.",
        "Flatten or leave out the deep field with `fields`, or keep it as text with a policy under `values`.",
    ),
    "E-DDB-INDEX": entry(
        "rejected",
        "A field that keys a secondary index has another type than the index, or none that an index takes.",
        "Cast the field with `fields`, or set `index_mismatch` so that such items stay out of the index.",
    ),
    "E-DDB-KEY": entry(
        "rejected",
        "A part of the item's key is missing, empty, too long, or of another type than the table's key.",
        "Correct `key`, give the field a default with `fields`, or leave such documents out with `where`.",
    ),
    "E-DDB-NAME": entry(
        "rejected",
        "A field's name is longer than DynamoDB takes as an attribute name.",
        "Rename the field with `fields`.",
    ),
    "E-DDB-SET": entry(
        "rejected",
        "An array that is to become a DynamoDB set is empty, mixes types, or holds a value twice.",
        "Leave the field out of `sets`: it is then a list, which holds anything.",
    ),
    "E-DDB-SIZE": entry(
        "rejected",
        "The item is larger than the 400 KB DynamoDB takes, also after what `oversize` allows.",
        "Set `oversize` (compress, split or S3), or drop the field that the reason names.",
    ),
    "E-ES-CONFLICT": entry(
        "rejected",
        "A field has another type here than the index gives it, or an array mixes types, and the plan rejects that.",
        "Choose another `conflict`, or cast the field with `fields`.",
    ),
    "E-ES-ID": entry(
        "rejected",
        "The document's id is empty or longer than the 512 bytes Elasticsearch takes.",
        "Leave such documents out with `where`, or send the route to another target.",
    ),
    "E-ES-NAME": entry(
        "rejected",
        "A field's name begins or ends with a dot, or has two dots in a row, which makes no path in an index.",
        "Rename the field with `fields`, or say `values: {name_escape: percent}`.",
    ),
    "E-ES-PERIOD": entry(
        "rejected stopped",
        "The index of a document is named by a date, which is missing, is no date, or is for no index of the route.",
        "Set `undated_index` for documents without the date, or correct `index`.",
    ),
    "E-ES-ROUTING": entry(
        "rejected",
        "The field that gives the routing is empty, or a mapper chose a routing where the plan names none.",
        "Correct the route's `routing`, or give the field a default with `fields`.",
    ),
    "E-ID-MISSING": entry(
        "rejected stopped",
        "A document has no `_id`, so nothing would name its record in a target.",
        "Keep `_id` in the view that the route reads.",
    ),
    "E-ID-TYPE": entry(
        "refused rejected stopped",
        "Keys are plain, and there is an `_id` of another type, or one that has no plain text: two documents could"
        " share a key.",
        "Say `id_encoding: typed`, which is the default, or leave such documents out with `where`; then begin anew with"
        " `backfill --restart`.",
    ),
    "E-MAP-ARRAY": entry(
        "rejected",
        "The field that becomes a list or set is missing or is no array.",
        "Correct the field's name, or leave such documents out with `where`.",
    ),
    "E-MAP-COUNTER": entry(
        "rejected",
        "The field that becomes a counter is missing or is no whole number of 64 bits.",
        "Cast the field with `fields`, or leave such documents out with `where`.",
    ),
    "E-MAP-ENTRY": entry(
        "rejected",
        "The field that gives the id of a stream's entry is missing, or is a time that no such id can say.",
        "Name another field, or leave such documents out with `where`.",
    ),
    "E-MAP-GEO": entry(
        "rejected",
        "The field that gives a place is no point, or lies outside of what Redis can hold.",
        "Correct `location`, or leave such documents out with `where`.",
    ),
    "E-MAP-KEY": entry(
        "rejected",
        "A field that the key is built of is missing, null, or has no text that names it exactly.",
        "Correct `key`, give the field a default with `fields`, or leave such documents out with `where`.",
    ),
    "E-MAP-LOSSLESS": entry(
        "rejected",
        "The plan promises `fidelity: lossless`, and the document cannot be restored from its record byte by byte.",
        "Please report it with the document's structure; `fidelity: native` would take it and count what is lost.",
    ),
    "E-MAP-NAME": entry(
        "rejected",
        "A field's name cannot stand as it is in this target.",
        "Say `values: {name_escape: percent}`, which keeps the name reversibly, or rename the field with `fields`.",
    ),
    "E-MAP-RAW": entry(
        "rejected",
        "The field that is kept as it is must be a text or binary, and is something else.",
        "Cast the field with `fields`, or use the mapper `json`.",
    ),
    "E-MAP-RECORD": entry(
        "rejected",
        "A mapper gave something that is no record of this target.",
        "Correct the mapper; docs/write-a-mapper.md tells what each target takes.",
    ),
    "E-MAP-FAILED": entry(
        "rejected",
        "A mapper of your own ended with an exception; the reason names its kind and line, never its text.",
        "Correct the mapper, or let it raise MappingError with a code of its own.",
    ),
    "E-MAP-SCORE": entry(
        "rejected",
        "The field that gives the score is missing, or is no number that a double can hold.",
        "Cast the field with `fields`, or leave such documents out with `where`.",
    ),
    "E-MAP-VALUE": entry(
        "rejected",
        "A value has no form in this target under the policies of the plan.",
        "Choose another policy under `values`; the reason names the one, and docs/values.md shows them all.",
    ),
    "E-NAME-COLLISION": entry(
        "rejected",
        "Two fields would have one name in the record, or a field has a name that offramp needs there itself.",
        "Rename one of them with `fields`.",
    ),
    "E-SRC-ANOMALY": entry(
        "rejected",
        "The stored bytes hold something that a decoder would change silently: a field twice, a type out of use.",
        "Choose a policy for it under `values` (docs/values.md), or repair the document.",
    ),
    "E-SRC-DECODE": entry(
        "rejected",
        "The stored bytes are no valid BSON at the place that the reason names.",
        "Choose a policy for it under `values` where there is one, or repair the document.",
    ),
    "E-TRANSFORM-ARRAY": entry(
        "rejected",
        "A path leads through an array, or a field that is to be taken apart is no array.",
        "Correct the path, or leave such documents out with `where`.",
    ),
    "E-TRANSFORM-CAST": entry(
        "rejected",
        "A value cannot be cast to the type the plan names.",
        "Correct the cast, or leave such documents out with `where`.",
    ),
    "E-TRANSFORM-COLLISION": entry(
        "rejected",
        "A field is to be set or renamed to a name that the document has already.",
        "Choose another name.",
    ),
    "E-TRANSFORM-IDENTITY": entry(
        "rejected",
        "An element of an array that becomes a record of its own has no identity, or shares it with another.",
        "Name the elements by position, or name another field.",
    ),
    "E-TRANSFORM-LOSSY": entry(
        "rejected",
        "A cast would lose digits.",
        "Say `lossy: true`, which casts and counts the loss, or cast to a wider type.",
    ),
    "E-TRANSFORM-MISSING": entry(
        "rejected",
        "A field that a cast, a template or an array needs is missing.",
        "Give it a default, or leave such documents out with `where`.",
    ),
    "E-TRANSFORM-PATH": entry(
        "rejected",
        "A path cannot be followed or set, as something that is no object stands on the way.",
        "Correct the path, or leave such documents out with `where`.",
    ),
    "E-TRANSFORM-TEMPLATE": entry(
        "rejected",
        "A template needs a field that is an object or array, which cannot stand in a text.",
        "Name a field of it.",
    ),
}
