"""Random collections: ids of one or of many kinds, and documents whose form in every target the reference knows."""

from __future__ import annotations

import datetime as dt
import math
import random
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bson import Binary, Code, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp, json_util

Document = dict[str, Any]

ID_KINDS = ("int", "string", "objectId", "mixed")
"""The kinds of `_id` of a collection; the first three are fit for `id_encoding: plain`."""

_NAMES = ("a", "A", "b b", "é", "😀", "x-y", "o_o")
_ODD_NAMES = ("$set", "a.b", "%", "a%2Eb", "$", ".", "_source")
_TEXTS = ("", " ", "a\x00b", "é", "é", "\U0010ffff", "‮", '"', "\\", "\r\n", "null", "1", "n:1", "\x00null")


class StoredDocument(dict[str, Any]):
    """A document as the source has it, with its bytes."""

    def __init__(self, fields: Mapping[str, Any], raw: bytes) -> None:
        """Take the fields that the bytes hold."""
        super().__init__(fields)
        self.raw = raw


@dataclass(frozen=True)
class Shape:
    """What the documents of a collection may hold."""

    id_kind: str
    wild_numbers: bool = True
    """Whether doubles and decimals at the ends of their ranges occur; a stand-in of Elasticsearch rounds them."""
    odd_names: bool = True
    """Whether field names occur that a target has to escape."""
    past_expiry: bool = True
    """Whether some documents have expired long ago."""
    faulty: float = 0.0
    """The share of documents that some mappers must reject: a score that is no number, an array that is none."""
    text_bytes: int = 0
    """The size of a text that fills each document."""
    found: Sequence[Document] = ()
    """Documents of real collections; some documents hold one of them."""


def found_in(folder: Path) -> Sequence[Document]:
    """Return the documents of the folder's files of Extended JSON, one a line, their `_id`s left out."""
    options = json_util.JSONOptions(tz_aware=True, tzinfo=dt.UTC)
    lines = [line for path in sorted(folder.glob("*.json")) for line in path.read_text().splitlines() if line.strip()]
    documents = [json_util.loads(line, json_options=options) for line in lines]
    return [{name: value for name, value in document.items() if name != "_id"} for document in documents]


def new_id(chance: random.Random, kind: str, number: int) -> Any:
    """Return an `_id` of the kind; those of different numbers differ, but for a few of kind mixed."""
    match kind:
        case "int":
            return number if number % 3 else Int64(2**40 + number)
        case "string":
            return f"{chance.choice(('a', 'ü', 'b:c', 'x%y', 'x{y}', 'sp ace', 'n:1'))}{number}"
        case "objectId":
            return ObjectId(number.to_bytes(6, "big") + chance.randbytes(6))
        case _:
            return _mixed_id(chance, number)


def _mixed_id(chance: random.Random, number: int) -> Any:
    makers: Sequence[Callable[[], Any]] = (
        lambda: number,
        lambda: str(number),
        lambda: f"{number}" + "x" * chance.choice((600, 2100)),
        lambda: number + 0.5,
        lambda: Decimal128(f"{number}.25"),
        lambda: Int64(number + 2**50),
        lambda: ObjectId(number.to_bytes(12, "big")),
        lambda: dt.datetime(1960, 1, 1, tzinfo=dt.UTC) + dt.timedelta(days=number, milliseconds=number),
        lambda: Binary(uuid.UUID(int=number).bytes, 4),
        lambda: number.to_bytes(3, "big"),
        lambda: Binary(number.to_bytes(3, "big"), 128),
        lambda: {"tenant": number % 7, "at": [str(number), number / 2]},
        lambda: {"é": {"n": number}},
        lambda: Timestamp(number + 1, 7),
        lambda: chance.choice((True, False, None, "", "n:1", 1, "1", MinKey(), MaxKey())),
    )
    return chance.choice(makers)()


def new_document(chance: random.Random, shape: Shape, identifier: Any, version: int) -> Document:
    """Return a document with this `_id`: fields that mappers need, and up to four of any type and name."""
    faulty = chance.random() < shape.faulty
    document: Document = {
        "_id": identifier,
        "v": version,
        "n": chance.randrange(-5, 1000),
        "score": chance.choice((chance.randrange(50), chance.randrange(40) / 4, Int64(chance.randrange(9)), -1)),
        "group": f"g{chance.randrange(4)}",
        "name": _text(chance),
        "at": _date(chance, 1971, 2200),
        "tags": [_text(chance) or "t" for _ in range(chance.randrange(1, 5))],
    }
    if faulty:
        document |= {"score": "none", "tags": None, "n": 1.5, "at": "never"}
    else:
        degrees = [chance.uniform(-180, 180), chance.uniform(-85, 85)]
        coordinates = degrees if shape.wild_numbers else [round(degree * 8) / 8 for degree in degrees]
        document["place"] = {"type": "Point", "coordinates": coordinates}
    if chance.random() < 0.7:
        document["until"] = _date(chance, 2100, 2300)
        if shape.past_expiry and chance.random() < 0.1:
            document["until"] = _date(chance, 1975, 2020)
    if shape.text_bytes:
        document["text"] = chance.choice("xyzé") * chance.randrange(shape.text_bytes)
    for _ in range(chance.randrange(5)):
        document[_name(chance, shape)] = _value(chance, shape, 3)
    if shape.found and chance.random() < 0.3:
        document["found"] = chance.choice(shape.found)
    if chance.random() < 0.02:
        document["deep"] = _deep(chance.randrange(2, 31))
    return document


def _deep(levels: int) -> Any:
    value: Any = 1
    for level in range(levels):
        value = {"d": value} if level % 2 else [value]
    return value


def _name(chance: random.Random, shape: Shape) -> str:
    names = (*_NAMES, *_ODD_NAMES) if shape.odd_names else _NAMES
    return chance.choice(names)


def _text(chance: random.Random) -> str:
    return (
        chance.choice(_TEXTS) if chance.random() < 0.2 else "".join(chance.choices("abcdeé😀 0", k=chance.randrange(9)))
    )


def _date(chance: random.Random, first: int, last: int) -> dt.datetime:
    day = dt.datetime(first, 1, 1, tzinfo=dt.UTC) + dt.timedelta(days=chance.randrange((last - first) * 365))
    return day + dt.timedelta(milliseconds=chance.randrange(86_400_000))


def _value(chance: random.Random, shape: Shape, depth: int) -> Any:
    makers: list[Callable[[], Any]] = [
        lambda: _text(chance),
        lambda: chance.randrange(-1000, 1000),
        lambda: chance.choice((2**31, -(2**31) - 1, 2**53, 2**53 + 1, 2**63 - 1, -(2**63))),
        lambda: Int64(chance.randrange(9)),
        lambda: chance.randrange(-400, 400) / 8,
        lambda: chance.choice((True, False, None)),
        lambda: _date(chance, 1, 9999),
        lambda: ObjectId(chance.randbytes(12)),
        lambda: Decimal128(chance.choice(("1.10", "0.1", "-5", "100", "123456789.000"))),
        lambda: chance.choice((math.nan, math.inf, -math.inf)),
        lambda: Decimal128(chance.choice(("NaN", "Infinity", "-Infinity"))),
        lambda: chance.randbytes(chance.randrange(9)),
        lambda: Binary(chance.randbytes(16), chance.choice((3, 4))),
        lambda: Binary(chance.randbytes(5), chance.choice((5, 6, 128))),
        lambda: Timestamp(chance.randrange(2**32), chance.randrange(9)),
        lambda: Regex(chance.choice(("a.*", "^é", "\\p{L}")), "i"),
        lambda: Code("f()"),
        lambda: Code("f()", {"n": chance.randrange(9)}),
        lambda: chance.choice((MinKey(), MaxKey())),
    ]
    if shape.wild_numbers:
        makers += [
            lambda: chance.choice((-0.0, 5e-324, 1.7976931348623157e308, 1e22, 1e-7, 0.1, 2.0**63, 1e16)),
            lambda: Decimal128(chance.choice(("-0", "1E-6176", "9.99E+6144", "1234567890123456789012345678901234"))),
        ]
    if depth:
        makers += [
            lambda: [_value(chance, shape, depth - 1) for _ in range(chance.randrange(4))],
            lambda: {_name(chance, shape): _value(chance, shape, depth - 1) for _ in range(chance.randrange(4))},
        ] * 3
    return chance.choice(makers)()


def mutation(
    chance: random.Random, shape: Shape, ids: Sequence[Any], version: int
) -> tuple[str, Any, Mapping[str, Any]]:
    """Return a change of the source: insert, update, replace or delete, the `_id`, and what is set."""
    draw = chance.random()
    if draw < 0.2 or not ids:
        identifier = new_id(chance, shape.id_kind, 100_000 + chance.randrange(50_000))
        return "insert", identifier, new_document(chance, shape, identifier, version)
    identifier = chance.choice(ids)
    if draw < 0.55:
        changed = {"v": version, "n": chance.randrange(1000), "score": chance.randrange(50), "name": _text(chance)}
        return "update", identifier, changed
    if draw < 0.75:
        # The server takes names such as $set from an insert alone.
        return "replace", identifier, new_document(chance, replace(shape, odd_names=False), identifier, version)
    return "delete", identifier, {}
