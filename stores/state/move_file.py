"""The file by which a plan's state moves: JSON lines, whole or refused, with every value as it was.

The first line says what the file is. Then comes each table: a line with its name and columns, and its rows as lists, in
the order of their keys. The last line has the number of rows and the SHA-256 of all bytes before it. Bytes are in
base64, and numbers that JSON has not (`inf`, `-inf`, `nan`) are texts. docs/state.md describes it for other readers.
"""

from __future__ import annotations

import json
import math
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Any, BinaryIO, Final

from stores.errors import PlanError

VERSION: Final = 1
_KIND: Final = "offramp state"
_WARNING: Final = "ids, texts of stores and documents that were rejected may be in here, which are personal data"
_LONGEST_LINE: Final = 512 * 1024 * 1024
"""A row has one document at most (16 MB, three times that as Extended JSON) or a report."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a file is."""

    plan: str
    id: str
    """Of the move: the state that it came from is marked with it."""
    number: int
    """How often the plan's state was moved, this time included."""
    state_format: str
    release: str
    exported: str
    """When, as ISO 8601 in UTC."""
    source: str
    """The database it came from, without user, password or options."""
    rows: Mapping[str, int]
    """The rows of each table, in the order in which the tables follow."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table, and what its values are: text, bytes, int, float or bool."""

    name: str
    kind: str


class Writer:
    """Writes a file from the top to the bottom; until `end`, it is none that can be imported."""

    def __init__(self, out: BinaryIO, header: Header) -> None:
        """Write the first line; raises OSError, as every method does, if it cannot be written."""
        self._out = out
        self._digest = sha256()
        self._rows = 0
        self._line({"kind": _KIND, "version": VERSION, **asdict(header), "warning": _WARNING})

    def table(self, name: str, columns: Sequence[Column]) -> None:
        """The rows that follow are those of this table."""
        self._line({"table": name, "columns": [asdict(column) for column in columns]})
        self._encoders = [_ENCODERS[column.kind] for column in columns]

    def row(self, values: Sequence[Any]) -> None:
        """The table has this row."""
        encoded = zip(self._encoders, values, strict=True)
        self._line([None if value is None else encode(value) for encode, value in encoded])
        self._rows += 1

    def end(self) -> None:
        """The file is whole: everything is written, and handed to the system."""
        end = {"rows": self._rows, "sha256": self._digest.hexdigest()}
        self._out.write(_json({"end": end}))
        self._out.flush()

    def _line(self, value: object) -> None:
        line = _json(value)
        self._digest.update(line)
        self._out.write(line)


class Reader:
    """Reads a file from the top to the bottom. Nothing that it gives is certain before `tables` has ended."""

    def __init__(self, source: BinaryIO, name: str) -> None:
        """Read the first line; raises PlanError E-STATE-FILE, as every method does, for what is no whole file."""
        self._source = source
        self._name = name
        self._digest = sha256()
        self._number = 0
        first = self._next()
        if not isinstance(first, dict) or first.get("kind") != _KIND:
            raise self._error("it is no state that `offramp state export` has written")
        if first.get("version") != VERSION:
            raise self._error(
                f"release {first.get('release')} wrote it in version {first.get('version')}, and this release reads"
                f" version {VERSION}; install that release or a later one"
            )
        for name in (name for name in Header.__slots__ if name != "rows"):
            try:
                _DECODERS["int" if name == "number" else "text"](first.get(name))
            except (TypeError, ValueError):
                raise self._error(f"its first line has no {name!r}") from None
        counts = first.get("rows")
        if not isinstance(counts, dict) or not all(type(count) is int and count >= 0 for count in counts.values()):
            raise self._error("its first line does not count the rows of each table")
        self.header = Header(**{name: first[name] for name in Header.__slots__})

    def tables(self) -> Iterator[tuple[str, list[Column], Iterator[list[Any]]]]:
        """Yield each table with its columns and rows. The rows must be taken before the next table.

        When it ends without an error, the file was whole and as it was written.
        """
        total = 0
        for name, rows in self.header.rows.items():
            head = self._next()
            if not isinstance(head, dict) or head.get("table") != name:
                raise self._error(f"table {name!r} should begin here")
            try:
                columns = [Column(each["name"], each["kind"]) for each in head["columns"] if each["kind"] in _DECODERS]
            except (KeyError, TypeError):
                raise self._error(f"the columns of table {name!r} should be here") from None
            yield name, columns, self._rows(columns, rows)
            total += rows
        digest = self._digest.hexdigest()
        last = self._next()
        if not isinstance(last, dict) or last.get("end") != {"rows": total, "sha256": digest}:
            raise self._error("its digest is not that of its contents: it was changed")
        if self._source.read(1):
            raise self._error("something follows its last line")

    def _rows(self, columns: Sequence[Column], rows: int) -> Iterator[list[Any]]:
        decoders = [_DECODERS[column.kind] for column in columns]
        for _ in range(rows):
            row = self._next()
            if not isinstance(row, list) or len(row) != len(columns):
                raise self._error(f"a row with {len(columns)} values should be here")
            try:
                yield [None if value is None else read(value) for read, value in zip(decoders, row, strict=True)]
            except (TypeError, ValueError):
                raise self._error("a value is not of the kind of its column") from None

    def _next(self) -> object:
        line = self._source.readline(_LONGEST_LINE)
        self._number += 1
        if not line.endswith(b"\n"):
            raise self._error("it ends too early: export the state again, or copy the whole file")
        try:
            value: object = json.loads(line)
        except (ValueError, RecursionError):
            raise self._error("it is not JSON, or nested too deep") from None
        self._digest.update(line)
        return value

    def _error(self, reason: str) -> PlanError:
        return PlanError("E-STATE-FILE", f"{self._name!r} cannot be imported: line {self._number}: {reason}")


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def _encoded_float(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)


def _decoded(kind: type) -> Callable[[Any], Any]:
    def read(value: object) -> object:
        if type(value) is not kind:
            raise TypeError
        return value

    return read


def _decoded_text(value: object) -> str:
    text: str = _decoded(str)(value)
    text.encode()  # Raises a ValueError for half of a surrogate pair, which no database keeps.
    return text


def _decoded_int(value: object) -> int:
    number: int = _decoded(int)(value)
    if not -(2**63) <= number < 2**63:
        raise ValueError
    return number


def _decoded_float(value: object) -> float:
    if type(value) is float or value in ("inf", "-inf", "nan"):
        return float(value)
    raise TypeError


def _decoded_bytes(value: object) -> bytes:
    return b64decode(_decoded(str)(value), validate=True)


_ENCODERS: Mapping[str, Callable[[Any], object]] = {
    "text": str,
    "bytes": lambda value: b64encode(value).decode(),
    "int": int,
    "float": lambda value: _encoded_float(float(value)),
    "bool": bool,
}
_DECODERS: Mapping[str, Callable[[object], Any]] = {
    "text": _decoded_text,
    "bytes": _decoded_bytes,
    "int": _decoded_int,
    "float": _decoded_float,
    "bool": _decoded(bool),
}
