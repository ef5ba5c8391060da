"""Where a stream is opened again whose server proves nothing by its tokens: before a change that it has shown already.

A stream that has just been opened may answer that there is nothing while its server still looks for the place to begin
at. Until it shows the change again that was the last before, its silence means nothing. The server's tokens are kept
and given back as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import bson
from bson.raw_bson import RawBSONDocument

from stores.contract.changes import StreamPosition
from stores.mongodb.times import as_int, timestamp

_KEY = "stream_mark"
_MARGIN = 60 << 32
"""How long before a time a stream begins whose position has no mark: what comes twice does no harm."""


def goes_by_silence(at: StreamPosition) -> bool:
    """Return whether the position is of a source whose silence is taken for the end of its changes."""
    return at.token[4:].startswith(b"\x03%b\x00" % _KEY.encode())


@dataclass(frozen=True, slots=True)
class Mark:
    """The place at which a stream goes on."""

    time: int
    """The cluster time of the place; without a token the place itself."""
    after: bytes = b""
    """The token of the change before it."""
    shown: bool = False
    """Whether a change past it was read, so that the stream must show one when it is opened here again."""

    @classmethod
    def of(cls, at: StreamPosition) -> Mark:
        """Return the mark in a position; one of its time, or of another server's token, where it has none."""
        if not at.token:
            return cls(at.time - _MARGIN)
        kept: Any = RawBSONDocument(at.token).get(_KEY)
        if kept is None:
            return cls(at.time, at.token)
        after = kept.get("after")
        return cls(as_int(kept["time"]), b"" if after is None else bytes(after.raw), bool(kept["shown"]))

    def token(self) -> bytes:
        """Return the mark as the token of a position."""
        after = {"after": RawBSONDocument(self.after)} if self.after else {}
        return bson.encode({_KEY: {"time": timestamp(self.time), "shown": self.shown, **after}})

    def stage(self) -> Mapping[str, Any]:
        """Return where $changeStream is to begin."""
        if self.after:
            return {"resumeAfter": RawBSONDocument(self.after)}
        return {"startAtOperationTime": timestamp(self.time)}
