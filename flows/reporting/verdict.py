"""The verdict of a route: the rules that say what the figures of a run prove."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from flows.reporting.model import FieldLoss, Following, RouteReport, Verdict, worst
from flows.verifier.compare import Comparison
from flows.verifier.counts import Counts
from flows.verifier.job import Level
from flows.verifier.sample import Sampled, proven
from mappers.losses import OTHER_FIELDS, Loss, LossFields
from stores.contract.journal import Tally
from stores.errors import OfframpError, OverBudget
from stores.state.rejects import AcceptedRejects, RejectCount
from stores.state.repairs import ActionCount

Failures = defaultdict[str, list[OfframpError]]
"""What went wrong with each route of a run, every error in the order it was seen; a route without one is not in it."""


@dataclass(frozen=True)
class Books:
    """What a route's report is made from; `settle` closes them."""

    route: str
    collection: str
    target: str
    backfilled: Tally | None
    """What copying recorded, None where this plan never copied the route."""
    complete: bool
    """Whether every partition was copied to its end."""
    source_counts: Mapping[str, int] | None
    """The source's own count per BSON type of `_id`."""
    verified: Level
    comparison: Comparison | None
    counts: Counts | None
    """What the target holds, for a pass that only counts."""
    allow_empty: bool
    expires: bool
    """Whether records of this route may expire."""
    backfill_s: float | None
    verify_s: float | None
    failures: Sequence[OfframpError] = ()
    """What went wrong with the route, in the order it was seen; the same error may come from several partitions."""
    accept_loss: Sequence[str] = ()
    """The losses the plan accepts: kinds, fields, or field:kind."""
    faults: Sequence[str] = ()
    """Why the target does not serve what it holds as the plan says."""
    sync: Following | None = None
    """How far the target follows the source; what copying recorded is then history, not what the target holds."""
    rejects: RejectCount = RejectCount(0, 0, 0, 0)  # noqa: RUF009 - frozen, so that it can be shared
    """Documents on record as rejected."""
    accepted: Sequence[AcceptedRejects] = ()
    """What persons have accepted of them."""
    halted: str = ""
    """Why copying stopped early, at a checkpoint, for its rejects; "" if it did not."""
    recopied: bool = False
    """Whether documents were copied again since: by then, too, what copying recorded is history."""
    repairs: Sequence[ActionCount] = ()
    """What was done to the target since its backfill, but for its sync."""
    sampled: Sampled | None = None
    """What was drawn, for a pass over a sample."""
    about: Mapping[str, Any] = field(default_factory=dict)
    """The full pass itself."""
    moved: Mapping[str, int] = field(default_factory=dict)
    """Documents per BSON type of `_id` that changed since sync stood still, and so may have come or gone meanwhile."""
    lost: str = ""
    """Why it could not be told what is still to be synced; "" if it could."""
    own_mapper: bool = False
    """Whether the mapper is the user's own."""


def settle(books: Books) -> RouteReport:
    """Return the route's report; whatever does not add up is a reason and the verdict is not clean (R141, R161)."""
    reasons: list[tuple[Verdict, str]] = []
    compared = books.comparison
    tally = books.backfilled or (compared.tally if compared else Tally())
    followed = books.sync is not None or books.recopied
    if followed and compared is not None:
        tally = _as_followed(compared, books)
    copied = books.backfilled is not None and not followed
    over = [error for error in books.failures if isinstance(error, OverBudget)]
    failed = [error for error in books.failures if not isinstance(error, OverBudget)]
    if books.halted or over:  # It stopped because it was to.
        texts = dict.fromkeys(map(str, over)) or [books.halted]
        reasons.extend(("rejects", text) for text in texts)
    reasons.extend(("failed", text) for text in dict.fromkeys(map(str, failed)))
    if not books.complete and not reasons:
        reasons.append(("failed", "not every partition was copied to its end; the same command resumes"))
    if tally.read != tally.dropped + tally.rejected + tally.copied:
        reasons.append(
            (
                "mismatches",
                f"the books do not close: {tally.read} read, but {tally.dropped} dropped + {tally.rejected} rejected"
                f" + {tally.copied} copied",
            )
        )
    counted = books.source_counts if not failed else None
    if counted is not None and copied and (books.complete or compared):
        reasons.extend(source_differences(counted, tally, "copying"))
    whole = compared if books.sampled is None else None
    if counted is not None and whole is not None and (not copied or whole.tally.id_types != tally.id_types):
        reasons.extend(source_differences(counted, whole.tally, "verification", books.moved))
    if rejected := _open(books, tally):
        reasons.append(("rejects", f"{rejected} documents were rejected; `offramp rejects list` shows why"))
    balance = compared.balance if compared else None
    if balance is not None:
        for kind, explanation in _EXPLAINED.items():
            found = getattr(balance, kind)
            if found:
                reasons.append(("mismatches", f"{found} {kind}: {explanation}"))
        for kind, explanation in _UNPROVEN.items():
            if unproven := getattr(balance, kind):
                why = _unsynced(books.lost) if kind == "unsettled" and books.sync is not None else explanation
                reasons.append(("failed", f"{unproven} {kind}: {why}"))
        accounted = balance.held + balance.missing + balance.collides + balance.expired + balance.settled
        expected = tally.records if books.sampled is None else balance.records - balance.refused
        if accounted != expected and not any(verdict != "rejects" for verdict, _ in reasons):
            reasons.append(
                (
                    "mismatches",
                    f"the books do not close: {expected} records, {accounted} held, missing, colliding or expired",
                )
            )
        gone = f": all {balance.expired} records have expired" if balance.expired else ""
        if balance.held + balance.missing == 0 and not books.allow_empty and not failed:
            reasons.append(("failed", f"verification compared nothing{gone} (allow_empty: true accepts that)"))
    audited: Verdict = "failed" if books.verified == "none" else "mismatches"
    reasons.extend((audited, fault) for fault in books.faults)
    if books.verified == "counts" and not failed:
        reasons.extend(_count_differences(books, tally))
    lost = _field_losses(tally, books.accept_loss)
    reasons.extend(("mismatches", _unaccepted(loss)) for loss in lost if not loss.accepted)
    return RouteReport(
        route=books.route,
        collection=books.collection,
        target=books.target,
        documents=sum(books.source_counts.values()) if books.source_counts is not None else None,
        read=tally.read,
        dropped=tally.dropped,
        rejected=tally.rejected,
        copied=tally.copied,
        records=tally.records,
        held=balance.held if balance else books.counts.held if books.counts else None,
        missing=balance.missing if balance else None,
        differs=balance.differs if balance else None,
        extra=balance.extra if balance else None,
        collides=balance.collides if balance else None,
        expired=balance.expired if balance else None,
        losses=dict(sorted(tally.losses.items())),
        verdict=worst(verdict for verdict, _ in reasons),
        verified=books.verified if compared or (books.counts and books.counts.held is not None) else "none",
        backfill_s=round(books.backfill_s, 1) if books.backfill_s is not None else None,
        verify_s=round(books.verify_s, 1) if books.verify_s is not None else None,
        reasons=[reason for _, reason in reasons],
        samples=balance.samples if balance else {},
        differing=compared.differing if compared and compared.balance.differs else None,
        sizes={str(1 << bits - 1): count for bits, count in sorted(tally.sizes.items())},
        lost=lost,
        sync=books.sync,
        accepted=books.rejects.accepted,
        repairs=[dataclasses.asdict(one) | {"last": _iso(one.last)} for one in books.repairs],
        accepted_rejects=[_accepted(one) for one in books.accepted],
        unsettled=balance.unsettled if balance else None,
        inconclusive=balance.inconclusive if balance else None,
        sampled=proven(books.sampled, sum(books.source_counts.values()) if books.source_counts is not None else None)
        if books.sampled
        else None,
        verification=books.about,
        counted_by=books.counts.way if books.counts else "",
    )


def _open(books: Books, tally: Tally) -> int:
    """Return how many documents are rejected and not accepted, by what copying and what a comparison saw.

    An acceptance is of one document's reject, so that the comparison is asked too: what was rejected when it was copied
    and accepted may be gone, and another document have come to be rejected that nobody knows of.
    """
    kept = books.rejects
    if books.comparison is None:
        if books.recopied or books.sync is not None:
            return kept.open
        return max(0, tally.rejected - kept.accepted) if books.backfilled is not None else tally.rejected
    mapped = books.comparison.tally
    seen = mapped.rejected - mapped.accepted
    if books.sampled is None:
        seen += kept.open_refused
    if books.recopied or books.sync is not None or books.backfilled is None:
        return seen
    return max(seen, tally.rejected - kept.accepted)


def _as_followed(compared: Comparison, books: Books) -> Tally:
    """Return what became of the documents there are now, as the comparison mapped them and the target took them."""
    refused = books.rejects.open_refused + books.rejects.accepted_refused if books.sampled is None else 0
    now = dataclasses.replace(compared.tally)
    now.rejected += refused
    now.copied -= refused
    now.records -= compared.balance.refused
    return now


_UNPROVEN = {
    "unsettled": "their documents kept changing, or sync had not come so far; verify again",
    "inconclusive": "the target did not answer for them; the same command looks again",
}


def _unsynced(lost: str) -> str:
    if lost:
        return f"which changes are still to be synced cannot be told: {lost}"
    return "their documents have changed since the last sync, or kept changing; run `offramp sync`, then verify again"


_EXPLAINED = {
    "missing": "the source has them, the target does not",
    "differs": "the target holds something else than the source's document maps to",
    "extra": "the target holds records no document of the source maps to",
    "collides": "two documents map to one address, and only one can stand there",
}


def _accepted(one: AcceptedRejects) -> Mapping[str, Any]:
    return dataclasses.asdict(one) | {"at": _iso(one.at)}


def _iso(seconds: float) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.UTC).isoformat(timespec="seconds")


def _field_losses(tally: Tally, accepted: Sequence[str]) -> list[FieldLoss]:
    lost: LossFields = dict(tally.lost)
    for kind, count in tally.losses.items():  # What was counted without a field is a loss all the same.
        named = sum(loss.count for (_, its), loss in lost.items() if its == kind)
        if named < count:
            lost["", kind] = Loss(count - named)
    return [
        FieldLoss(path, kind, loss.count, loss.examples, _accepts(accepted, path, kind))
        for (path, kind), loss in sorted(lost.items(), key=lambda entry: (-entry[1].count, entry[0]))
    ]


def _accepts(accepted: Sequence[str], path: str, kind: str) -> bool:
    """Tell whether the plan names the kind, the field (or one above it), or both."""
    above = [".".join(path.split(".")[:length]) for length in range(1, path.count(".") + 2)] if path else []
    return any(one in accepted for one in (kind, *above, *(f"{field}:{kind}" for field in above)))


def _unaccepted(loss: FieldLoss) -> str:
    where = f"at {loss.field!r}" if loss.field else "in documents as a whole"
    key = loss.kind if loss.field in ("", OTHER_FIELDS) else f"{loss.field}:{loss.kind}"
    return (
        f"{loss.count} values {where} were not kept exactly ({loss.kind}); if that is all right, say so in the route:"
        f" accept_loss: [{json.dumps(key, ensure_ascii=False)}]"
    )


def _count_differences(books: Books, tally: Tally) -> list[tuple[Verdict, str]]:
    if books.sync is not None or books.recopied:
        what = "synced" if books.sync is not None else "repaired"
        return [("failed", f"what was copied has been {what} since, so there is no count to go by; use --level full")]
    if books.backfilled is None:
        return [("failed", "there is nothing to count against: this plan has not copied the route; use --level full")]
    counts = books.counts
    if counts is None or counts.held is None:
        return [("failed", "the target cannot list what it holds, so nothing was counted; use --level full")]
    if tally.records == 0 and counts.held == 0 and not books.allow_empty:
        return [("failed", "verification compared nothing (allow_empty: true accepts an empty collection)")]
    reasons: list[tuple[Verdict, str]] = []
    if not counts.ordered:
        reasons.append(("mismatches", "the partitions that were copied do not cover the collection just once"))
    reasons += [("mismatches", f"{told} were copied of those the source now counts") for told in counts.differing]
    if counts.held != tally.records:
        hint = " (expired records cannot be told from missing ones by counting)" if books.expires else ""
        told = f"the target holds {counts.held} records, {tally.records} were written{hint}; use --level full"
        reasons.append(("mismatches", told))
    return reasons


def source_differences(
    counts: Mapping[str, int], tally: Tally, who: str, moved: Mapping[str, int] | None = None
) -> list[tuple[Literal["mismatches", "failed"], str]]:
    """Name each BSON type of `_id` of which another number was read than the source counts (R157).

    No more than have `moved` may have come or gone since they were read: that is unsettled, and no mismatch.
    """
    kinds = sorted({*counts, *tally.id_types})
    wrong = [kind for kind in kinds if counts.get(kind, 0) != tally.id_types.get(kind, 0)]
    if not wrong:
        return []
    told = ", ".join(f"{kind} {tally.id_types.get(kind, 0)} of {counts.get(kind, 0)}" for kind in wrong)
    text = f"{who} read another number of documents than the source now counts, by type of _id: {told}"
    if moved and all(abs(counts.get(kind, 0) - tally.id_types.get(kind, 0)) <= moved.get(kind, 0) for kind in wrong):
        return [("failed", f"unsettled: {text}; documents came or went; run `offramp sync`, then verify again")]
    return [("mismatches", text)]
