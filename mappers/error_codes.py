"""The codes by which mappers and transforms reject a document: what each means and what to do (docs/errors.md)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

Effect = Literal[
    "refused", "rejected", "paused", "stopped", "ended", "postponed", "limited", "interrupted", "failed", "noted"
]

EFFECTS: Mapping[Effect, str] = {
    "refused": (
        "The command ended before it wrote anything: the plan, what it points at, or the command line is wrong (exit"
        " code 2)."
    ),
    "rejected": (
        "The document was not written, or not completely, and is kept as a reject with its `_id`, code and reason. The"
        " route went on; its verdict is not clean (exit code 1)."
    ),
    "paused": (
        "A store gave no answer until the retries were used up. The route stopped at a checkpoint, and the other routes"
        " went on; before any route had begun, the command ended and nothing was written. Nothing is lost; the same"
        " command resumes (exit code 3)."
    ),
    "stopped": (
        "The route stopped at a checkpoint or did not begin, and the other routes went on; before any route had begun,"
        " the command ended and nothing was written. Remove the cause; then the same command resumes (exit code 3)."
    ),
    "ended": (
        "The route stopped for good, and the other routes went on. No command resumes it: remove the cause, then copy"
        " it anew with `offramp backfill PLAN --restart --route ROUTE` (exit code 3)."
    ),
    "postponed": (
        "Nothing was done to the route. A sync went on with the other routes; any other command did nothing at all. The"
        " same command does its work once the cause is gone (exit code 3)."
    ),
    "limited": (
        "The route stopped at a checkpoint, as it has more rejects than the plan allows; the other routes went on. The"
        " same command resumes, and stops again until the cause is removed or the limit is raised (exit code 4)."
    ),
    "interrupted": (
        "Ctrl-C or SIGTERM stopped the run at a checkpoint. Nothing is lost; the same command resumes (exit code 130 or"
        " 143)."
    ),
    "failed": (
        "The command ended before its work was done. Remove the cause, then run it again: it does all that is left to"
        " do (exit code 3)."
    ),
    "noted": "The run went on; the note does not change the verdict.",
}
"""The tool's action, by the kind of error."""


@dataclass(frozen=True, slots=True)
class Entry:
    """The meaning of a code."""

    effects: tuple[Effect, ...]
    meaning: str
    """What was found."""
    remedy: str
    """What to do."""

    @property
    def advice(self) -> str:
        """What to do about a route that failed with the code, to the end of it: also which command then goes on."""
        if "ended" in self.effects or "same command" in self.remedy:
            return self.remedy
        return f"{self.remedy} Then run the same command again."


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
        "The document is nested deeper than the 32 levels that a DynamoDB item may have.",
        "Flatten the deep field (`transforms`: flatten or embed), drop it (`fields`), or set `values: "
        "{depth_overflow: json_string}`.",
    ),
    "E-DDB-INDEX": entry(
        "rejected",
        "A field that keys a secondary index has a type that the index does not take.",
        "Cast the field (`transforms`), or set `index_mismatch: omit`, which keeps such items out of the index.",
    ),
    "E-DDB-KEY": entry(
        "rejected",
        "A part of the item's key is missing, empty, too long, or of another type than the table's key.",
        "Correct `key`, give the field a default (`transforms`), or exclude such documents with `where`.",
    ),
    "E-DDB-NAME": entry(
        "rejected",
        "A field's name is longer than DynamoDB allows for an attribute name.",
        "Rename the field (`transforms`) or drop it (`fields`).",
    ),
    "E-DDB-SET": entry(
        "rejected",
        "An array listed in `sets` is empty, mixes types, or holds a value twice.",
        "Remove the field from `sets`: it is then stored as a list, which holds any values. `empty_sets: omit` leaves"
        " out the empty ones.",
    ),
    "E-DDB-SIZE": entry(
        "rejected",
        "The item is larger than the 400 KB that DynamoDB allows, even after what `oversize` does.",
        "Set `oversize` to compress, split or s3, or drop the field that the reason names (`fields`).",
    ),
    "E-ES-CONFLICT": entry(
        "rejected",
        "A field has another type than the index gives it, or an array mixes types, and the plan says `conflict: "
        "reject`.",
        "Choose another `conflict`, or cast the field (`transforms`).",
    ),
    "E-ES-ID": entry(
        "rejected",
        "The document's id is empty or longer than the 512 bytes that Elasticsearch allows.",
        "Exclude such documents with `where`, or send the route to another target.",
    ),
    "E-ES-NAME": entry(
        "rejected",
        "A field's name begins or ends with a dot or has two dots in a row, which is not a path in an index.",
        "Set `values: {name_escape: percent}`, or rename the field (`transforms`).",
    ),
    "E-ES-PERIOD": entry(
        "rejected stopped",
        "The document's index is named by a date, and the date is missing, is not a date, or belongs to none of "
        "the route's indices.",
        "Set `undated_index` for documents without the date, or correct `index`.",
    ),
    "E-ES-ROUTING": entry(
        "rejected",
        "The field that gives the routing is empty, or a mapper chose a routing although the plan sets none.",
        "Correct the route's `routing`, or give the field a default (`transforms`).",
    ),
    "E-ID-MISSING": entry(
        "rejected stopped",
        "A document has no `_id`, so nothing would name its record in a target.",
        "Keep `_id` in the view that the route reads.",
    ),
    "E-ID-TYPE": entry(
        "refused rejected ended",
        "The route says `id_encoding: plain`, and an `_id` has another type or no plain text: two documents "
        "could share a key.",
        "Set `id_encoding: typed`, the default, or exclude such documents with `where`; then start over with "
        "`offramp backfill PLAN --restart --route ROUTE`.",
    ),
    "E-MAP-ARRAY": entry(
        "rejected",
        "The field that becomes a list or set is missing or is not an array.",
        "Correct the field's name, or exclude such documents with `where`.",
    ),
    "E-MAP-COUNTER": entry(
        "rejected",
        "The field that becomes a counter is missing or is not a whole number of 64 bits.",
        "Cast the field (`transforms`), or exclude such documents with `where`.",
    ),
    "E-MAP-DEPTH": entry(
        "rejected",
        "The document is nested deeper than the 100 levels of MongoDB's own documents, and no encoder takes it.",
        "Flatten the field that the reject names (`transforms`: flatten), or drop it (`fields`).",
    ),
    "E-MAP-ENTRY": entry(
        "rejected",
        "The field that gives a stream entry's id is missing, or is a time that no entry id can hold.",
        "Name another field in `entry`, or exclude such documents with `where`.",
    ),
    "E-MAP-GEO": entry(
        "rejected",
        "The field that gives the place is not a point, or is outside the range that Redis holds.",
        "Correct `location`, or exclude such documents with `where`.",
    ),
    "E-MAP-KEY": entry(
        "rejected",
        "A field that the key is built from is missing, null, or has no text that identifies it exactly.",
        "Correct `key`, give the field a default (`transforms`), or exclude such documents with `where`.",
    ),
    "E-MAP-LOSSLESS": entry(
        "rejected",
        "The plan says `fidelity: lossless`, and the document cannot be restored from its record byte for byte.",
        "Please report it with the document's structure. `fidelity: native` takes such a document and counts "
        "what is lost.",
    ),
    "E-MAP-NAME": entry(
        "rejected",
        "A field's name cannot be stored unchanged in this target.",
        "Set `values: {name_escape: percent}`, which keeps the name reversibly, or rename the field (`transforms`).",
    ),
    "E-MAP-RAW": entry(
        "rejected",
        "With `format: raw` the field must be text or binary, and it is something else.",
        "Cast the field (`transforms`), or use `format: json`.",
    ),
    "E-MAP-RECORD": entry(
        "rejected",
        "A mapper returned something that is not a record of this target.",
        "Correct the mapper; docs/write-a-mapper.md lists what each target takes.",
    ),
    "E-MAP-FAILED": entry(
        "rejected",
        "Your own mapper raised an exception; the reason names its kind and line, never its text.",
        "Correct the mapper, or let it raise MappingError with a code of its own.",
    ),
    "E-MAP-SCORE": entry(
        "rejected",
        "The field that gives the score is missing, or is not a number that a double can hold.",
        "Cast the field (`transforms`), or exclude such documents with `where`.",
    ),
    "E-MAP-VALUE": entry(
        "rejected",
        "A value cannot be stored in this target under the plan's policies.",
        "Choose another policy under `values`; the reason names it, and docs/values.md lists them all.",
    ),
    "E-NAME-COLLISION": entry(
        "rejected",
        "Two fields would get the same name in the record, or a field has a name that offramp needs for itself.",
        "Rename one of them (`transforms`) or drop it (`fields`).",
    ),
    "E-SRC-ANOMALY": entry(
        "rejected",
        "The stored bytes hold something that a decoder would change silently, such as a field twice or a "
        "deprecated type.",
        "Choose a policy for it under `values` (docs/values.md), or correct the document in the source.",
    ),
    "E-SRC-DECODE": entry(
        "rejected",
        "The stored bytes are not valid BSON at the place that the reason names.",
        "Choose a policy for it under `values` where there is one, or correct the document in the source.",
    ),
    "E-TRANSFORM-ARRAY": entry(
        "rejected",
        "A path leads through an array, or the field that `explode` names is not an array.",
        "Correct the path, or exclude such documents with `where`.",
    ),
    "E-TRANSFORM-CAST": entry(
        "rejected",
        "A value cannot be cast to the type in the plan.",
        "Correct the cast, give it a `default`, or exclude such documents with `where`.",
    ),
    "E-TRANSFORM-COLLISION": entry(
        "rejected",
        "A transform would set a field, or rename one to a name, that the document already has.",
        "Choose another name.",
    ),
    "E-TRANSFORM-IDENTITY": entry(
        "rejected",
        "An element that `explode` makes a record of has no identity, or shares it with another element.",
        "Leave out `id`, which names the elements by position, or name another field in it.",
    ),
    "E-TRANSFORM-LOSSY": entry(
        "rejected",
        "A cast would change the value, for example lose digits.",
        "Set `lossy: true`, which casts and counts the loss, or cast to a wider type.",
    ),
    "E-TRANSFORM-MISSING": entry(
        "rejected",
        "A field that a cast, a template or `explode` needs is missing.",
        "Give it a default, or exclude such documents with `where`.",
    ),
    "E-TRANSFORM-PATH": entry(
        "rejected",
        "A path cannot be followed or set, because a value on the way is not an object.",
        "Correct the path, or exclude such documents with `where`.",
    ),
    "E-TRANSFORM-TEMPLATE": entry(
        "rejected",
        "A template needs a field that is an object or an array, which cannot be part of a text.",
        "Name a field inside it.",
    ),
}
