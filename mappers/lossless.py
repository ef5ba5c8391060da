"""Restoring a document's BSON, byte by byte, from a record of a lossless route."""

from __future__ import annotations

from mappers.contract import Record, Restorable


def restore(record: Record) -> bytes:
    """Return the BSON of the document that `fidelity: lossless` made this record from.

    Raises ValueError for a record without that BSON.
    """
    if not isinstance(record, Restorable):
        raise ValueError(f"a {type(record).__name__} holds no whole document")
    try:
        return record.restore()
    except (KeyError, TypeError, AttributeError, ValueError):
        raise ValueError("the record holds no BSON; was it written with fidelity: lossless?") from None
