"""The common parts of the tables of values: look-up by type, policies, and the fields of losses and errors."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from mappers.contract import Losses, MappingError
from mappers.policies import Shared
from mappers.values.tags import in_utc

Convert = Callable[[Any], Any]

_SHOWN_NAME = 100  # Characters of a field's name that an error shows.


def _as_float(convert: Convert, value: float) -> Any:
    return convert(float(value))


def same(value: Any) -> Any:
    """Return the value itself."""
    return value


def whole(value: int) -> int:
    """Return the number; raises MappingError if it is too large for a BSON integer."""
    if not -(2**63) <= value < 2**64:
        raise MappingError("E-MAP-VALUE", "", "a whole number of more than 64 bits")
    return value


def iso_text(value: dt.datetime) -> str:
    """Return ISO 8601 with exactly three decimals and ``Z``, which Elasticsearch reads for years 1 to 9999 (R17)."""
    if value.tzinfo is not dt.UTC:  # CODEC decodes every date as UTC; a mapper of one's own may bring another.
        value = in_utc(value)
    return value.isoformat(timespec="milliseconds")[:-6] + "Z"


class Table(dict[type, Convert]):
    """The converters of values by exact type. A subclass has the converter of its base type."""

    def __missing__(self, kind: type) -> Convert:
        for base in kind.__mro__[1:]:
            convert = self.get(base)
            if convert is not None:
                # Subclasses of float (NumPy has one) print and serialise in ways of their own.
                self[kind] = partial(_as_float, convert) if base is float else convert
                return self[kind]
        raise MappingError("E-MAP-VALUE", "", f"a value of type {kind.__name__} is no BSON value")


class Form:
    """The common base of the tables: policies, and the losses of the current document by field."""

    def __init__(self, policies: Shared, losses: Losses | None) -> None:
        self._policies: Shared = policies
        self._losses = losses
        self._lost: list[tuple[str, str]] = []  # path and kind; an array's elements bear the array's path

    def _lose(self, kind: str) -> None:
        self._lost.append(("", kind))

    def _named(self, name: str, since: int) -> int:
        """Put the name before the paths of losses from index `since` on; return the number of losses."""
        name = shown(name)
        for at in range(since, len(self._lost)):
            path, kind = self._lost[at]
            self._lost[at] = (f"{name}.{path}" if path else name, kind)
        return len(self._lost)

    def _count_losses(self) -> None:
        """Report the losses of a document, or of a value by itself, after it is converted whole."""
        if self._losses is not None:
            for path, kind in self._lost:
                self._losses.add(kind, path)
        self._lost.clear()

    def _nonfinite(self, tag: Mapping[str, Any]) -> Mapping[str, Any] | None:
        match self._policies.nonfinite:
            case "as_null":
                self._lose("nonfinite_null")
                return None
            case "reject":
                raise MappingError("E-MAP-VALUE", "", "NaN or an infinity; set values: {nonfinite: tag} to keep it")
            case _:
                return tag


def shown(name: str) -> str:
    """Return the name for an error; a long name is cut."""
    return name if len(name) <= _SHOWN_NAME else name[:_SHOWN_NAME] + "…"


def below(name: str, error: MappingError) -> MappingError:
    """Return the error of a value with this name put before its path."""
    name = shown(name)
    return MappingError(error.code, f"{name}.{error.field}" if error.field else name, error.reason)
