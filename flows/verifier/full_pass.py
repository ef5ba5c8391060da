"""A full pass over one route: its parts, what they leave open, and what it comes to."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol

from flows.copying.projection import Projection, identify
from flows.quantities import counted, number
from flows.verifier.compare import Comparison, Expecting, Save
from flows.verifier.field_differences import Differences, DifferenceSamples, merge_samples
from flows.verifier.ledger import Balance, Mismatch, RecheckCall
from flows.verifier.listing import list_for_pass, list_suspects, lists_once
from flows.verifier.part_ledger import PartLedger, Shape
from flows.verifier.sketch import Sketch, add_cells
from flows.verifier.suspects import (
    SuspectLedger,
    TooManySuspectsError,
    find_suspects,
    hashes_from,
    resolve,
    shared_addresses,
)
from mappers.contract import Record
from stores.contract.journal import Tally
from stores.contract.stop import NEVER, STOPPED, Stop
from stores.contract.target import Auditable, Listable, Target
from stores.errors import PermanentError, TransientError
from stores.state.leases import Lease
from stores.state.verification import MOST_FINDINGS, Pass, PassPart, Seen, StoredFinding, Verification

PartStage = Literal["list", "compare", "reread", "relist"]
STAGES: Sequence[PartStage] = ("list", "compare", "reread", "relist")
"""The stages that the parts of a full pass have, in their order."""


class CompareCall(Protocol):
    """Compares a part of the source; see `compare.compare_partition`."""

    def __call__(self, ledger: Expecting, part: PassPart, save: Save, /) -> Tally | None:
        """Return the tally of the part, None when a stop ended it at a checkpoint."""


@dataclass(frozen=True, slots=True)
class Closed:
    """What closing a pass came to."""

    comparison: Comparison | None = None
    """None for a pass that has further parts now."""
    faults: Sequence[str] = ()
    """Why the target does not serve what it holds as the plan says."""
    about: Mapping[str, Any] = field(default_factory=dict)
    """The pass: its id, when it began, how often it was gone on with, in how many parts."""
    note: str = ""
    """Why it has further parts, for a person who waits."""


@dataclass(frozen=True, slots=True)
class FullPass:
    """The pass under way over one route, for a worker that has its lease; all that counts is in the state."""

    verification: Verification
    lease: Lease
    target: Target[Record]
    projection: Projection
    compare: CompareCall
    recheck: Callable[[Differences], RecheckCall]
    """Makes what looks a second time at mismatches, and collects how records differ."""
    show_values: bool = False
    stop: Stop = NEVER

    def whole(self) -> Closed:
        """All parts of the pass that are left are done, and it is closed; see `close`."""
        for stage in STAGES:
            for part in self.verification.parts(self.lease.route):
                if part.stage == stage and not part.done:
                    self.do(part.number)
        return self.close()

    def do(self, number: int) -> None:
        """One part of the pass is done. Raises TransientError if a stop ended it at a checkpoint."""
        under_way = self.verification.under_way(self.lease.route)
        part = self.verification.part(self.lease.route, number)
        if under_way is None or part is None:
            raise self._gone()
        shape = Shape.from_json(under_way.shape)
        match part.stage:
            case "list" | "relist":
                shares = self.verification.numbers(self.lease.route, part.stage)
                self._list(part, shape, under_way, shares.index(number), len(shares))
            case "compare":
                self._compare(part, shape, under_way)
            case _:
                self._reread(part, shape, under_way)

    def _list(self, part: PassPart, shape: Shape, under_way: Pass, share: int, shares: int) -> None:
        # A listing cannot be resumed: an interrupted one is forgotten and begins again.
        differences = Differences(show_values=self.show_values)
        ledger = PartLedger(shape, self.recheck(differences), began_ms=under_way.began * 1000)
        target = self.target
        if part.stage == "list":
            listed = list_for_pass(target, self.projection, ledger, share, shares, stop=self.stop)
        else:
            expected = {suspect.address for suspect in self.verification.suspects(self.lease.route)}
            hashes = hashes_from(under_way.suspects or b"")
            listed = list_suspects(target, ledger, hashes, expected, share, shares, stop=self.stop)
        if not listed:
            raise stopped()
        self._save(part, ledger, differences)(None, Tally(), done=True)

    def _compare(self, part: PassPart, shape: Shape, under_way: Pass) -> None:
        sums, begun = _sums(part.sums)
        differences = Differences(show_values=self.show_values, begun=begun)
        vectors = self.verification.vectors(self.lease.route, part.number)
        ledger = PartLedger(
            *(shape, self.recheck(differences)), began_ms=under_way.began * 1000, sums=sums, vectors=vectors
        )
        if self.compare(ledger, part, self._save(part, ledger, differences)) is None:
            raise stopped()

    def _reread(self, part: PassPart, shape: Shape, under_way: Pass) -> None:
        verification = self.verification
        known = verification.suspects(self.lease.route, part.number)
        ledger = SuspectLedger(shape, hashes_from(under_way.suspects or b""), known)

        def save(position: bytes | None, tally: Tally, *, done: bool) -> None:
            seen = Seen(suspects=ledger.take_suspects())
            verification.checkpoint(self.lease, part.number, position, tally, seen, done=done)

        if self.compare(ledger, part, save) is None:
            raise stopped()

    def close(self) -> Closed:
        """Return what the pass came to; it has ended, or has parts that are left, or new ones."""
        under_way, parts = self._pass()
        if not all(part.done for part in parts):
            return Closed()
        verification, lease = self.verification, self.lease
        shape, listed = Shape.from_json(under_way.shape), isinstance(self.target, Listable)
        vectors = verification.vectors(self.lease.route)
        sketches = {name: Sketch.from_bytes(shape.key, cells) for name, cells in vectors.items()}
        try:
            suspects = find_suspects(sketches, shape, listed=listed, distinct=lists_once(self.target))
        except TooManySuspectsError as error:
            larger = shape.larger(error.hashes)
            verification.begin_anew(lease, larger.to_json())
            again = "begins again with larger sketches"
            if larger.slices > 1:
                again = f"begins again in {larger.slices} slices, each of which reads source and target"
            more = "more addresses may be wrong, or shared, than the pass has room for"
            return Closed(note=f"{more} (about {number(error.hashes)}), so it {again}")
        if suspects.hashes and under_way.suspects is None:
            verification.suspect(lease, suspects.to_bytes(), ["reread", *(["relist"] if suspects.relist else [])])
            count = counted(len(suspects.hashes), "address", "addresses")
            return Closed(note=f"{count} may be wrong, or shared; source and target are read again for them")
        return self._conclude(under_way, parts, shape, listed=listed, absent_unread=suspects.absent_unread)

    def _conclude(
        self, under_way: Pass, parts: Sequence[PassPart], shape: Shape, *, listed: bool, absent_unread: bool
    ) -> Closed:
        """The slice has ended, and if it is the last one the pass."""
        verification, lease = self.verification, self.lease
        before = under_way.sums or {}
        total = Balance(extra=0 if listed else None)
        seen: list[DifferenceSamples] = []
        for sums, samples in map(_sums, [before, *(part.sums for part in parts)]):
            total.merge(sums)
            seen.append(samples)
        tally = Tally.from_json(before["tally"]) if before else Tally()
        for part in parts:
            if part.stage == "compare" and not before:
                tally.add(part.tally)
        shared = shared_addresses(verification.suspects(self.lease.route))
        found = [
            Mismatch(each.kind, each.address, each.position or b"") for each in verification.found(self.lease.route)
        ]
        differences = Differences(show_values=self.show_values)
        found = resolve(total, shared, found, self.recheck(differences))
        collided = {address for address, each in shared.items() if each.records > 1}
        samples = merge_samples([merge_samples(seen, collided), differences.samples()])
        if shape.slice + 1 < shape.slices:
            ended = {"tally": tally.to_json(), "balance": total.to_json(), "differences": samples.to_json()}
            verification.begin_anew(lease, replace(shape, slice=shape.slice + 1).to_json(), ended, stored(found))
            return Closed(note=f"slice {shape.slice + 1} of {shape.slices} has ended")
        faults = audited(self.target)
        verification.end(lease, under_way.id, stored(found[:MOST_FINDINGS]))
        about = {
            "pass": under_way.id,
            "began": dt.datetime.fromtimestamp(under_way.began, dt.UTC).isoformat(timespec="seconds"),
            "resumed": under_way.resumed,
            "partitions": sum(part.stage == "compare" for part in parts),
            "slices": shape.slices,
            "absent_unread": absent_unread,
        }
        return Closed(Comparison(tally, total, samples), faults, about)

    def _pass(self) -> tuple[Pass, Sequence[PassPart]]:
        verification = self.verification
        under_way = verification.under_way(self.lease.route)
        if under_way is None:
            raise self._gone()
        return under_way, verification.parts(self.lease.route)

    def _gone(self) -> PermanentError:
        return PermanentError("E-STATE-GONE", f"route {self.lease.route}: the state lost its verification")

    def _save(self, part: PassPart, ledger: PartLedger, differences: Differences) -> Save:
        def save(position: bytes | None, tally: Tally, *, done: bool) -> None:
            ledger.settle()
            seen = Seen(
                {"balance": ledger.sums.to_json(), "differences": differences.samples().to_json()},
                {name: sketch.to_bytes() for name, sketch in ledger.sketches.items()},
                stored(ledger.take_found()),
            )
            self.verification.checkpoint(*(self.lease, part.number, position, tally, seen), done=done, add=add_cells)

        return save


def audited(target: Target[Record]) -> Sequence[str]:
    """Return why the target does not serve what it holds as the plan says, if it can tell."""
    return target.audit() if isinstance(target, Auditable) else ()


def stopped() -> TransientError:
    """Return the error of a stop at a checkpoint."""
    return TransientError(STOPPED, "stopped during the verification; the same command resumes with it")


def stored(found: Sequence[Mismatch]) -> Sequence[StoredFinding]:
    """Return the mismatches as the state keeps them."""
    return [
        StoredFinding(
            wrong.kind, wrong.address, wrong.position or None, identify(wrong.position) if wrong.position else ""
        )
        for wrong in found
    ]


def _sums(kept: Mapping[str, Any]) -> tuple[Balance, DifferenceSamples]:
    if not kept:
        return Balance(), DifferenceSamples()
    return Balance.from_json(kept["balance"]), DifferenceSamples.from_json(kept["differences"])
