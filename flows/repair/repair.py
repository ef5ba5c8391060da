"""Repair: exactly what a verification found wrong is copied again or deleted, and then rechecked (R155, R156)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from flows.connect.preflight import join_faults, total_tally
from flows.connect.progress import SILENT, RunObserver
from flows.connect.recopy import BATCH, recopy, recopy_late_writes
from flows.connect.session import Session, open_session
from flows.connect.stores import OpenRoute
from flows.copying.own_records import NOT_OF_THE_ROUTE, SHOWN, foreign_addresses, is_indistinct
from flows.copying.projection import identify
from flows.plan.model import Plan, Route
from flows.quantities import counted, number
from flows.repair.recopy import never_copied, open_copied
from flows.repair.unrecorded import unrecorded
from flows.verifier.ledger import Mismatch, is_systemic
from flows.verifier.recheck import Recheck
from mappers.contract import Record
from stores.contract.source import Partition
from stores.contract.stop import NEVER, Stop, raise_if_stopped
from stores.errors import OfframpError, PlanError
from stores.state.leases import Lease
from stores.state.repairs import Action
from stores.state.state import State
from stores.state.verification import MOST_FINDINGS
from stores.throttling.batches import cut

KINDS = ("missing", "differs", "extra")
"""What can be repaired. Of two documents that map to the same address only the plan can say whose record it holds."""
_UNPROVEN = ("unsettled", "inconclusive")
_ROUNDS = 3


@dataclass(frozen=True)
class Repaired:
    """What became of what a verification had found of a route."""

    route: str
    found: Mapping[str, int]
    """What the last verifications found of it, by kind."""
    wrong: Mapping[str, int] = field(default_factory=dict)
    """What was still so when the repair began, by kind, of what it was asked to repair."""
    copied: int = 0
    """Documents that were copied again."""
    deleted: int = 0
    """Addresses of extras that were deleted."""
    corrected: int = 0
    """Addresses that were rechecked against both stores and are right now."""
    left: Mapping[str, int] = field(default_factory=dict)
    """Addresses at which something is wrong still, by kind."""
    unrecorded: int = 0
    """How many findings of the last full verification the state did not keep."""
    kept: Mapping[str, int] = field(default_factory=dict)
    """Extras that were not deleted, or with `dry_run` would not be, by the reason why."""
    rounds: int = 0
    failure: str = ""
    """Why the route did not finish, "" if it did."""
    not_of_route: Sequence[str] = ()
    """A few addresses of extras that the route cannot have made."""
    indistinct: bool = False
    """Whether extras were to be deleted of which nothing tells the route's from those of other programs."""

    def as_json(self) -> dict[str, Any]:
        """Return the outcome as `offramp repair --json` prints it, where `corrected` is called `mended`."""
        return {"mended" if name == "corrected" else name: value for name, value in asdict(self).items()}


def wanted_kinds(kinds: Sequence[str], *, delete_extras: bool, dry_run: bool) -> Sequence[str]:
    """Return the kinds of mismatches to repair, for those that a person named, or none.

    Raises PlanError where they and `delete_extras` say different things of extras, whose repair deletes records.
    """
    wanted = kinds or (KINDS if delete_extras else ("missing", "differs"))
    if "extra" in wanted and not (delete_extras or dry_run):
        raise PlanError("E-USAGE", "the kind extra deletes records; add --delete-extras (of a flow: delete_extras)")
    if delete_extras and "extra" not in wanted:
        raise PlanError("E-USAGE", "--delete-extras (of a flow: delete_extras) needs the kind extra beside the others")
    return wanted


def repair(
    plan: Plan,
    routes: Sequence[Route],
    kinds: Sequence[str] = ("missing", "differs"),
    *,
    dry_run: bool = False,
    everything: bool = False,
    stop: Stop = NEVER,
    observer: RunObserver = SILENT,
) -> list[Repaired]:
    """What the last verification found of these kinds is repaired in each route's target, or reported as left.

    Nothing but the rechecked addresses is verified by it, and whatever was verified of the route before is void.
    Raises PlanError, having written nothing, if a route cannot be served, or if so much of it is wrong that its cause
    is no accident (unless `everything`); TransientError if another run is at work on a route. What stops a route later
    is the `failure` in its result. With `dry_run` nothing is written, and only the state is changed: findings that are
    right by now are removed.
    """
    with open_session(plan, routes, observer=observer, stop=stop) as session:
        verification = session.state.verification
        sums = {route.name: Counter(found.kind for found in verification.findings(route.name)) for route in routes}
        if not everything:
            _refuse_systemic(session, sums, kinds)
        outcomes, more = [], unrecorded(session.state, sums)
        for route in session.routes:
            outcome = Repaired(route.name, dict(sums[route.name]), unrecorded=more[route.name])
            if session.state.partitions.route(route.name) is None:
                outcomes.append(replace(outcome, failure=str(never_copied())))
                continue
            late = session.state.late_writes.of_route(route.name)
            if late or any(sums[route.name][kind] for kind in (*kinds, *_UNPROVEN)):
                outcome = _Repair(session, route, kinds, stop).run(outcome, dry_run=dry_run)
            outcomes.append(outcome)
    return outcomes


def is_left(outcomes: Iterable[Repaired], kinds: Iterable[str]) -> bool:
    """Return whether something is wrong still, also what was not asked to be repaired or is not on record."""
    others = {*KINDS, "collides"} - {*kinds}
    return any(
        outcome.left or outcome.unrecorded or any(outcome.found.get(kind) for kind in others) for outcome in outcomes
    )


def _refuse_systemic(session: Session, sums: Mapping[str, Counter[str]], kinds: Sequence[str]) -> None:
    """Raise PlanError if more is wrong of a route than single accidents explain (R155)."""
    faults = []
    for route in session.routes:
        if session.state.partitions.route(route.name) is None:
            continue  # Nothing was copied, which its own result says.
        wrong = sum(sums[route.name][kind] for kind in kinds)
        documents = max(session.checked[route.name].expected, total_tally(session.state, route).read)
        if is_systemic(wrong, documents):
            more = " or more" if sum(sums[route.name].values()) >= MOST_FINDINGS else ""
            faults.append(
                PlanError(
                    "E-REPAIR-SYSTEMIC",
                    f"route {route.name}: {number(wrong)}{more} addresses are wrong, of"
                    f" {counted(documents, 'document')}: that is no accident, so find its cause and start over with"
                    " backfill --restart; or repair anyway with --all",
                )
            )
    if faults:
        raise join_faults(faults)


@dataclass
class _Repair:
    session: Session
    route: Route
    kinds: Sequence[str]
    stop: Stop

    @property
    def state(self) -> State:
        return self.session.state

    @property
    def lease(self) -> Lease:
        return self.session.leases[self.route.name]

    def run(self, outcome: Repaired, *, dry_run: bool) -> Repaired:
        """Return what became of the route's findings."""
        try:
            self._raise_if_stopped()
            with open_copied(self.session, self.route) as opened:
                return self._repaired(opened, outcome, dry_run=dry_run)
        except OfframpError as error:
            return replace(outcome, failure=str(error))

    def _repaired(self, opened: OpenRoute, outcome: Repaired, *, dry_run: bool) -> Repaired:
        if not dry_run:
            outcome = replace(outcome, copied=recopy_late_writes(opened))
        verification = self.state.verification
        asked = [
            Mismatch(finding.kind, finding.address, finding.position or b"")
            for finding in verification.findings(self.route.name, (*self.kinds, *_UNPROVEN))
        ]
        waiting, corrected = self._recheck(opened, asked)
        outcome = replace(outcome, wrong=_by_kind(waiting), left=_by_kind(waiting), corrected=corrected)
        if not any(mismatch.kind in self.kinds for mismatch in waiting):
            return outcome
        kept: dict[str, str] = {}
        extras = [wrong.address for wrong in waiting if wrong.kind == "extra" and not wrong.position]
        if extras and "extra" in self.kinds:
            kept = self._find_protected(opened, extras)
            foreign = [address for address, why in kept.items() if why == NOT_OF_THE_ROUTE]
            outcome = replace(
                outcome,
                kept=dict(Counter(kept.values())),
                not_of_route=foreign[:SHOWN],
                indistinct=len(kept) < len(extras) and is_indistinct(opened.target, opened.projection),
            )
        if dry_run:
            return outcome
        self.state.repairs.begin(self.lease)
        deletable = {*extras} - {*kept}  # What turns out to be an extra later was not searched for.
        for _ in range(_ROUNDS):
            doing = [
                wrong
                for wrong in waiting
                if wrong.kind in self.kinds and (wrong.position or wrong.address in deletable)
            ]
            if not doing:
                break
            copied = self._copy(opened, [wrong for wrong in doing if wrong.position])
            deleted = self._delete(opened, [wrong for wrong in doing if not wrong.position])
            waiting, corrected = self._recheck(opened, waiting)
            outcome = replace(
                outcome,
                copied=outcome.copied + copied,
                deleted=outcome.deleted + deleted,
                corrected=outcome.corrected + corrected,
                rounds=outcome.rounds + 1,
            )
        self.state.repairs.record(
            self.lease, [Action("repair", "left", wrong.kind, wrong.address, _id(wrong)) for wrong in waiting]
        )
        return replace(outcome, left=_by_kind(waiting))

    def _recheck(self, opened: OpenRoute, mismatches: Sequence[Mismatch]) -> tuple[list[Mismatch], int]:
        """Return what is wrong by now, and at how many addresses nothing is any more; of those no finding is left."""
        refused = self.state.rejects.refused(self.route.name)
        recheck = Recheck(opened.source, opened.projection, opened.target, refused=refused, stop=self.stop)
        wrong: list[Mismatch] = []
        right: list[str] = []
        for batch in cut(mismatches, BATCH):
            self._raise_if_stopped()
            for before, now in zip(batch, recheck(batch), strict=True):
                if now.kind not in (*KINDS, *_UNPROVEN):
                    right.append(now.address)
                elif now.kind == "extra" and now.position:  # What it was found of has no record there any more.
                    wrong.append(before)
                else:
                    wrong.append(now)
        self.state.verification.remove_findings(self.lease, right)
        return wrong, len(right)

    def _copy(self, opened: OpenRoute, wrong: Sequence[Mismatch]) -> int:
        kinds: dict[bytes, Mismatch] = {}
        for mismatch in wrong:
            kinds.setdefault(mismatch.position, mismatch)
        for batch in cut(list(kinds), BATCH):
            self._raise_if_stopped()
            done = recopy(opened, batch)
            rejected = {reject.id for reject in done.rejects}
            self.state.repairs.record(
                self.lease,
                [
                    Action(
                        "repair",
                        "rejected" if identify(at) in rejected else "copied",
                        kinds[at].kind,
                        kinds[at].address,
                        identify(at),
                    )
                    for at in batch
                ],
            )
        return len(kinds)

    def _delete(self, opened: OpenRoute, extras: Sequence[Mismatch]) -> int:
        for batch in cut(extras, BATCH):
            self._raise_if_stopped()
            with opened.journal.writing(()):
                opened.target.delete([extra.address for extra in batch])
            self.state.repairs.record(
                self.lease, [Action("repair", "deleted", extra.kind, extra.address) for extra in batch]
            )
        return len(extras)

    def _find_protected(self, opened: OpenRoute, extras: Sequence[str]) -> dict[str, str]:
        """Return which of these addresses must not be deleted, and why: after reading every document there is."""
        kept: dict[str, str] = {}
        candidates = set(extras)
        made: set[type[Record]] = set()
        for batch in opened.source.read(Partition(0)):
            self._raise_if_stopped()
            for record in opened.projection.batch(batch).records:
                made.add(type(record))
                if record.address in candidates:
                    kept[record.address] = "a document maps to this address now"
        unmapped = [address for address in extras if address not in kept]
        foreign = foreign_addresses(opened.target, opened.projection, unmapped, made)
        return kept | dict.fromkeys(foreign, NOT_OF_THE_ROUTE)

    def _raise_if_stopped(self) -> None:
        raise_if_stopped(self.stop, "stopped by a signal; the same command resumes with what is left")


def _by_kind(mismatches: Sequence[Mismatch]) -> dict[str, int]:
    return dict(Counter(mismatch.kind for mismatch in mismatches))


def _id(mismatch: Mismatch) -> str:
    return identify(mismatch.position) if mismatch.position else ""
