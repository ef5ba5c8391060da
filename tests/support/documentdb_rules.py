"""What an Amazon DocumentDB refuses of the MongoDB protocol, by version, and what it answers then.

Each rule is a line of what is known of the service: from AWS's pages on its APIs and operators, and from reports of
what others ran into. Where nobody has seen whether a version allows something, it is refused here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

Name = Literal["4.0", "5.0", "8.0", "8.0.1"]
Command = Mapping[str, Any]

_UNSUPPORTED, _STAGE, _RETRYABLE = 303, 304, 301


@dataclass(frozen=True, slots=True)
class Version:
    """A version of the service, as a client sees it."""

    compatible: tuple[int, int, int]
    """The version of MongoDB that it calls itself."""
    engine: str
    """What it calls its own engine."""
    wire: int
    bounds: bool = False
    """Whether it obeys a cursor's min and max."""
    views: bool = False
    collation: bool = False
    sizes: bool = False
    """Whether it knows $bsonSize, $binarySize and $sampleRate."""
    post_batch_token: bool = True
    """Whether an answer of a stream says where it ends."""


VERSIONS: Final[Mapping[Name, Version]] = {
    "4.0": Version((4, 0, 0), "2.0.10980", 7, post_batch_token=False),
    "5.0": Version((5, 0, 0), "3.0.17983", 13),
    "8.0": Version((8, 0, 0), "4.0.8720", 25, views=True, collation=True),
    "8.0.1": Version((8, 0, 0), "4.0.11305", 25, bounds=True, views=True, collation=True, sizes=True),
}
BEFORE_TOKENS: Final = Version((5, 0, 0), "3.0.9727", 13, post_batch_token=False)
"""A 5.0 without the patch of March 2025, since which answers of streams say where they end."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a command is refused."""

    what: str
    """The construct, by its name."""
    code: int
    text: str
    by_driver: bool = False
    """Whether every driver sends it of its own accord, and takes the refusal for nothing."""


_OPTIONS: Final[Mapping[str, Callable[[Version], bool]]] = {
    "min": lambda version: version.bounds,
    "max": lambda version: version.bounds,
    "allowDiskUse": lambda _: False,
    "noCursorTimeout": lambda _: False,
    "collation": lambda version: version.collation,
}
"""Options of a find, each with whether a version takes it."""
_OPERATORS: Final[Mapping[str, Callable[[Version], bool]]] = {
    "$bsonSize": lambda version: version.sizes,
    "$binarySize": lambda version: version.sizes,
    "$sampleRate": lambda version: version.sizes,
}
_STAGES: Final = frozenset(("$facet", "$bucketAuto", "$changeStreamSplitLargeEvent"))
_OF_STREAMS: Final = frozenset(("$changeStream", "$match", "$project", "$redact", "$addFields", "$replaceRoot"))
_OF_CHANGE_STREAM: Final = frozenset(("fullDocument", "startAtOperationTime", "resumeAfter", "allChangesForCluster"))
_COMMANDS: Final[Mapping[str, bool]] = {
    "getParameter": False,
    "refreshSessions": False,
    "endSessions": True,
    "appendOplogNote": False,
    "setUserWriteBlockMode": False,
}
"""Commands that no version knows, each with whether drivers send it of their own accord."""
_WRITES: Final = frozenset(("insert", "update", "delete", "findAndModify"))


def refusal(command: Command, version: Version) -> Refusal | None:
    """Return why the command is refused; None for one that is obeyed."""
    return next(_refusals(command, version), None)


def _refusals(command: Command, version: Version) -> Iterator[Refusal]:
    name = next(iter(command))
    if name in _COMMANDS:
        yield Refusal(name, _UNSUPPORTED, f"Feature not supported: {name}", by_driver=_COMMANDS[name])
    if name in _WRITES:
        if "txnNumber" in command and "autocommit" not in command:
            yield Refusal("txnNumber", _RETRYABLE, "Retryable writes are not supported")
        return  # What a document holds is not asked for.
    concern = command.get("readConcern") or {}
    if "afterClusterTime" in concern:
        yield _unsupported("afterClusterTime")
    if concern.get("level") == "snapshot":
        yield _unsupported("snapshot")
    if name == "find":
        for option, taken in _OPTIONS.items():
            if command.get(option) and not taken(version):
                yield Refusal(option, _UNSUPPORTED, f"Field '{option}' is currently not supported")
    if name == "listCollections" and "type" in (command.get("filter") or {}):
        yield _unsupported("type")
    if name in ("create", "collMod"):
        if "changeStreamPreAndPostImages" in command:
            yield _unsupported("changeStreamPreAndPostImages")
        if "viewOn" in command and not version.views:
            yield _unsupported("viewOn")
    if name == "aggregate":
        if command.get("collation") and not version.collation:
            yield _unsupported("collation")
        yield from _refused_stages(command["pipeline"])
    if name in ("find", "aggregate", "count", "distinct"):
        yield from _refused_operators(command, version)


def _refused_stages(pipeline: Sequence[Mapping[str, Any]]) -> Iterator[Refusal]:
    names = [next(iter(stage)) for stage in pipeline]
    of_stream = "$changeStream" in names
    for stage, name in zip(pipeline, names, strict=True):
        if name in _STAGES or (of_stream and name not in _OF_STREAMS):
            yield Refusal(name, _STAGE, f"Aggregation stage not supported: '{name}'")
        if name == "$changeStream":
            for option in stage[name].keys() - _OF_CHANGE_STREAM:
                yield Refusal(option, _UNSUPPORTED, f"Field '{option}' is currently not supported")
        if name == "$collStats" and "latencyStats" in stage[name]:
            yield _unsupported("latencyStats")


def _refused_operators(value: Any, version: Version) -> Iterator[Refusal]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if key == "$literal":
                continue  # A value, whatever it looks like.
            if key == "$type" and isinstance(inner, list) and len(inner) != 1:
                yield Refusal("$type of a list", _UNSUPPORTED, "Feature not supported: $type with an array")
            elif key in _OPERATORS and not _OPERATORS[key](version):
                yield Refusal(key, _STAGE, f"Aggregation operator not supported: '{key}'")
            else:
                yield from _refused_operators(inner, version)
    elif isinstance(value, list):
        for inner in value:
            yield from _refused_operators(inner, version)
    elif value == "$$REMOVE":
        yield _unsupported("$$REMOVE")


def _unsupported(what: str) -> Refusal:
    return Refusal(what, _UNSUPPORTED, f"Feature not supported: {what}")
