"""A stored document as text: canonical Extended JSON, which can be turned back into the same bytes."""

from __future__ import annotations

from typing import Any

import bson
from bson import json_util
from bson.binary import Binary

from mappers.contract import MappingError
from mappers.documents.decoding import CODEC_MS, decode

_CANONICAL = json_util.CANONICAL_JSON_OPTIONS.with_options(
    tz_aware=False, tzinfo=None, datetime_conversion=CODEC_MS.datetime_conversion
)
_BYTES = "$bson"


def to_extended(raw: bytes) -> str:
    """Return the document in canonical Extended JSON; as ``{"$bson": bytes}`` if that could not restore its bytes."""
    try:
        text = json_util.dumps(decode(raw, CODEC_MS), json_options=_CANONICAL)
        if from_extended(text) == raw:
            return text
    except (MappingError, ValueError, TypeError, ArithmeticError, bson.errors.BSONError):
        pass
    return json_util.dumps({_BYTES: Binary(raw, 0)}, json_options=_CANONICAL)


def from_extended(text: str) -> bytes:
    """Return the stored bytes of a document that `to_extended` gave."""
    document: dict[str, Any] = json_util.loads(text, json_options=_CANONICAL)
    kept = document.get(_BYTES) if len(document) == 1 else None
    if isinstance(kept, bytes):
        return kept
    return bson.encode(document, codec_options=CODEC_MS)
