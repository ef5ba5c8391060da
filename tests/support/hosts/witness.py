"""What a target saw: who sent it changes, and when."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hosts.host import Host

LOG = "changes.log"
"""A line for each request that changes something, in the folder of the target's host."""
KEPT = "kept-back"
"""While this file is there, changes of more bytes than it says by the senders that it names wait before the target."""


@dataclass(frozen=True, slots=True, order=True)
class Change:
    """A request that changes something, as it arrived at a target."""

    at: float
    """When it began to arrive, by the monotonic clock, which all hosts share. What was begun no fence recalls."""
    sender: str
    """The address of the host that sent it; behind TLS its first number is 127."""
    size: int
    """In bytes."""


@dataclass(frozen=True, slots=True)
class Witness:
    """The log of a target, which no part of the program writes."""

    log: Path
    kept: Path

    @classmethod
    def of(cls, target: Host) -> Witness:
        """Return the witness at a target's host."""
        return cls(target.folder / LOG, target.folder / KEPT)

    def changes(self, *senders: Host, since: float = 0.0, before: float = float("inf")) -> Sequence[Change]:
        """Return the changes that arrived in this time, in the order of their arrival, from any of the hosts."""
        addresses = {_end(sender.address) for sender in senders}
        lines = self.log.read_text(encoding="utf-8").splitlines(keepends=True)
        found = [Change(*json.loads(line)) for line in lines if line.endswith("\n")]
        return [each for each in found if _end(each.sender) in addresses and since <= each.at < before]

    @contextmanager
    def keeping_back(self, *senders: Host, above: int) -> Iterator[None]:
        """What these hosts would change from now on arrives, and is on the log, but goes on after the body only.

        Requests of at most `above` bytes, such as those that prepare a place, go on at once.
        """
        draft = self.kept.with_suffix(".draft")
        draft.write_text(json.dumps([above, *(_end(sender.address) for sender in senders)]), encoding="utf-8")
        draft.rename(self.kept)
        try:
            yield
        finally:
            self.kept.unlink()


def is_kept_back(sender: str, size: int, folder: Path) -> bool:
    """Return whether a change of so many bytes from this address is to wait now, in the folder of the target's host."""
    try:
        above, *senders = json.loads((folder / KEPT).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return False
    return size > above and _end(sender) in senders


def _end(address: str) -> str:
    return address.partition(".")[2]
