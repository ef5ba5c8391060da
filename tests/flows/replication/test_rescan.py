"""Rescanning: what a pass remembers is what it wrote, also of documents that come and go while it looks."""

from __future__ import annotations

from pathlib import Path

from flows.copying.projection import Projection
from flows.replication.applier import Applier
from flows.replication.rescan import rescan, rescanned_at
from mappers.contract import Addressing, Losses
from mappers.redis.records import String
from mappers.transforms.steps import unchanged
from mappers.values.key_templates import Template
from stores import memory
from stores.contract.stop import NEVER
from stores.memory import MemorySource, MemoryTarget
from stores.state.state import State


class Keyed(Addressing):
    """One string for each document."""

    key = Template.parse("k:{_id}")

    def __call__(self, document, /):  # type: ignore[no-untyped-def]
        return [String(self.key.fill(document), b"")]

    def addresses(self, identity, /):  # type: ignore[no-untyped-def]
        return self.key.addresses(identity)


class Whole(MemorySource):
    """A source that can be told of a time."""

    def advance(self, time: int) -> None:
        """Do nothing: there are no changes."""


def test_a_document_that_is_there_again_when_it_was_found_gone_is_looked_for_by_the_next_pass(tmp_path: Path) -> None:
    both, one = [{"_id": 1}, {"_id": 2}], [{"_id": 1}]
    memory.forget("again")
    target = MemoryTarget(MemoryTarget.Connection(), MemoryTarget.Placement(), "again")
    target.prepare()
    state = State(f"sqlite:///{tmp_path / 'state.db'}", "plan")
    lease = state.leases.acquire("things")
    projection = Projection(Keyed(), Losses(), (String,), naming=unchanged)
    source = Whole(both)
    applier = Applier(
        source, projection, target, state.journal(lease), lambda *_, **__: None, rescanned_at(0), advancing=False
    )

    def held(read: list[dict[str, int]], asked: list[dict[str, int]]) -> list[str]:
        applier.source = Whole(asked)
        rescan(state, lease, Whole(read), applier, NEVER)
        return sorted(memory.held("again"))

    assert held(both, both) == ["k:n:1", "k:n:2"]
    assert held(one, both) == ["k:n:1", "k:n:2"]
    assert held(one, one) == ["k:n:1"]
    state.close()
