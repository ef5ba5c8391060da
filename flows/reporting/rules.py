"""The rules by which a route is judged: each looks at the evidence for one thing that must not be (R141, R161).

A rule knows nothing of the other rules, but for `records_add_up`. A new rule is one function and its name in `RULES`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from flows.quantities import counted as amount
from flows.quantities import number
from flows.reporting.evidence import Evidence
from flows.reporting.losses import field_losses
from flows.reporting.model import FieldLoss, Verdict
from mappers.losses import OTHER_FIELDS
from stores.contract.journal import Tally
from stores.contract.stop import STOPPED

MISMATCH_REASONS: Mapping[str, str] = {
    "missing": "the source has them, the target does not",
    "differs": "the target holds something else than the source's document maps to",
    "extra": "the target holds records no document of the source maps to",
    "collides": "two documents map to one address, and only one can be there",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One reason why a route is not clean, and the verdict it leads to."""

    verdict: Verdict
    reason: str


Rule = Callable[[Evidence], Iterable[Finding]]


def over_budget(evidence: Evidence) -> Iterator[Finding]:
    """The route stopped early, at a checkpoint, as it had too many rejects."""
    texts = _different(evidence.over_budget) or ([evidence.halted] if evidence.halted else [])
    for text in texts:
        yield Finding("stopped", text)


def unfinished(evidence: Evidence) -> Iterator[Finding]:
    """A signal stopped the route, something failed, or it was not copied to its end and nothing says why."""
    for error in {str(error): error for error in evidence.failed}.values():
        yield Finding("stopped" if error.code == STOPPED else "failed", str(error))
    if not evidence.complete and not evidence.failures and not evidence.halted:
        yield Finding("failed", "not every partition was copied to its end; the same command resumes")


def documents_add_up(evidence: Evidence) -> Iterator[Finding]:
    """Each document that was read was dropped, rejected or copied."""
    tally = evidence.tally
    if tally.read != tally.dropped + tally.rejected + tally.copied:
        yield Finding(
            "mismatches",
            f"the books do not close: {number(tally.read)} read, but {number(tally.dropped)} dropped"
            f" + {number(tally.rejected)} rejected + {number(tally.copied)} copied",
        )


def source_counts(evidence: Evidence) -> Iterator[Finding]:
    """As many documents of each BSON type of `_id` were read as the source counts, when copying and when verifying."""
    counts = evidence.source_counts
    if counts is None or evidence.failed:
        return
    copied = evidence.copied if not evidence.rewritten else None
    if copied is not None and (evidence.complete or evidence.comparison):
        yield from _copied_differences(evidence, copied, counts)
    compared = evidence.comparison if evidence.sampled is None else None
    if compared is not None and (copied is None or compared.tally.id_types != copied.id_types):
        yield from _compared_differences(compared.tally, counts, evidence.came_or_went)


def changes_pending(evidence: Evidence) -> Iterator[Finding]:
    """Nothing was compared, and no document has changed since that a sync is still to bring over."""
    if evidence.changed and evidence.level == "none" and not evidence.failed:
        since = "the copy began" if evidence.following is None else "the last sync"
        text = f"documents have changed since {since}, and the next sync follows them: run `offramp sync`, then verify"
        yield Finding("pending", text)


def rejects(evidence: Evidence) -> Iterator[Finding]:
    """No document is rejected that nobody accepted."""
    if rejected := open_rejects(evidence):
        text = f"{amount(rejected, 'document was', 'documents were')} rejected; `offramp rejects list PLAN` shows why"
        if evidence.copied is None and evidence.rejects.open < rejected:
            documents = amount(rejected, "document")
            text = f"as the source is now, {documents} cannot be copied; a backfill puts each on record, with why"
        elif (unknown := rejected - evidence.rejects.open) > 0 and evidence.comparison is not None:
            text += (
                f"; {number(unknown)} of them, which have changed since they were copied, once `offramp sync PLAN` ran"
            )
        yield Finding("rejects", text)


def mismatches(evidence: Evidence) -> Iterator[Finding]:
    """The comparison found nothing missing, differing, extra or colliding."""
    for kind, explanation in MISMATCH_REASONS.items():
        if count := getattr(evidence.balance, kind, None):
            yield Finding("mismatches", f"{number(count)} {kind}: {explanation}")


def unproven(evidence: Evidence) -> Iterator[Finding]:
    """Every record that was compared was proven right or wrong."""
    balance = evidence.balance
    if balance is None:
        return
    if balance.unsettled:
        yield Finding("failed", f"{number(balance.unsettled)} unsettled: {_why_unsettled(evidence)}")
    if balance.inconclusive:
        why = "the target did not answer for them; the same command compares again"
        yield Finding("failed", f"{number(balance.inconclusive)} inconclusive: {why}")


def records_add_up(evidence: Evidence) -> Iterator[Finding]:
    """Each record that was written is held, missing, colliding or expired, or another rule says why it is not."""
    balance = evidence.balance
    if balance is None:
        return
    accounted = balance.held + balance.missing + balance.collides + balance.expired + balance.settled
    expected = evidence.tally.records if evidence.sampled is None else balance.records - balance.refused
    if accounted == expected:
        return
    explaining = (unfinished, documents_add_up, source_counts, mismatches, unproven)
    if not any(finding for rule in explaining for finding in rule(evidence)):
        records = amount(expected, "record")
        text = f"the books do not close: {records}, {number(accounted)} held, missing, colliding or expired"
        yield Finding("mismatches", text)


def emptiness(evidence: Evidence) -> Iterator[Finding]:
    """A comparison compared something, or the plan accepts an empty route."""
    balance = evidence.balance
    if balance is None or evidence.allow_empty or evidence.failed:
        return
    if balance.held + balance.missing == 0:
        gone = f": all {amount(balance.expired, 'record has', 'records have')} expired" if balance.expired else ""
        yield Finding("failed", f"verification compared nothing{gone} (allow_empty: true accepts that)")


def target_audit(evidence: Evidence) -> Iterator[Finding]:
    """The target serves what it holds as planned; where nothing else was looked at, the run failed to make it so."""
    verdict: Verdict = "failed" if evidence.level == "none" else "mismatches"
    for fault in evidence.target_faults:
        yield Finding(verdict, fault)


def counted(evidence: Evidence) -> Iterator[Finding]:
    """A pass that only counts had counts to go by, and they are equal."""
    if evidence.level != "counts" or evidence.failed:
        return
    counts, copied = evidence.counts, evidence.copied
    if evidence.rewritten:
        yield from _counted_again(evidence)
    elif copied is None:
        text = "there is nothing to count against: this plan has not copied the route; use --level full"
        yield Finding("failed", text)
    elif counts is None or counts.held is None:
        yield Finding("failed", "the target cannot list what it holds, so nothing was counted; use --level full")
    elif copied.records == 0 and counts.held == 0 and not evidence.allow_empty:
        yield Finding("failed", "verification compared nothing (allow_empty: true accepts an empty collection)")
    else:
        if not counts.ordered:
            yield Finding("mismatches", "the partitions that were copied do not cover the collection just once")
        for difference in counts.differing:
            yield Finding("mismatches", f"{difference} were copied of those the source now counts")
        if counts.held != copied.records:
            # Expired records cannot be told from missing ones by counting, so fewer prove nothing.
            expired = evidence.expires and counts.held < copied.records
            hint = ", and its records may expire, which counting cannot tell from missing" if expired else ""
            text = (
                f"the target holds {amount(counts.held, 'record')},"
                f" {amount(copied.records, 'was', 'were')} written{hint}; use --level full"
            )
            yield Finding("failed" if expired else "mismatches", text)


def _counted_again(evidence: Evidence) -> Iterator[Finding]:
    """Yield why the numbers of a route that was written to since its copy prove nothing, or that they differ.

    The counts of copying are history then. The source's own count goes in their place where each document has one
    record: equal numbers are all that is claimed, and only while no change is known that is yet to be synced.
    """
    how = "synced" if evidence.following is not None else "repaired"
    held, rejects = evidence.counts.held if evidence.counts else None, evidence.rejects
    refused = rejects.open_refused + rejects.accepted_refused
    if not evidence.one_record or evidence.expires or refused:
        why = (
            "the target refused documents, of which it may hold a part"
            if refused
            else "its records may expire"
            if evidence.expires
            else "its documents need not have one record each"
        )
        text = f"what was copied has been {how} since, and {why}, so there is no count to go by; use --level full"
        yield Finding("failed", text)
    elif held is None or evidence.documents is None:
        yield Finding("failed", "the source and the target were not both counted; use --level full")
    elif evidence.changed:
        text = "unsettled: documents have changed that are not synced yet; run `offramp sync`, then verify again"
        yield Finding("failed", text)
    elif evidence.documents == 0 and held == 0 and not evidence.allow_empty:
        yield Finding("failed", "verification compared nothing (allow_empty: true accepts an empty collection)")
    elif held != (expected := evidence.documents - rejects.open - rejects.accepted):
        yield Finding(
            "mismatches",
            f"the target holds {amount(held, 'record')}, and should hold {number(expected)}: one of each document that"
            " the source now counts and that is not on record as rejected; use --level full",
        )


def losses(evidence: Evidence) -> Iterator[Finding]:
    """No value lost anything, but for what the plan accepts."""
    for loss in field_losses(evidence.tally, evidence.accept_loss):
        if not loss.accepted:
            yield Finding("mismatches", _unaccepted(loss))


RULES: Sequence[Rule] = (
    over_budget,
    unfinished,
    documents_add_up,
    source_counts,
    changes_pending,
    rejects,
    mismatches,
    unproven,
    records_add_up,
    emptiness,
    target_audit,
    counted,
    losses,
)
"""Every rule, in the order in which a report gives their reasons."""


def _copied_differences(evidence: Evidence, copied: Tally, counts: Mapping[str, int]) -> Iterator[Finding]:
    """Yield a finding if another number of any BSON type of `_id` was copied than the source counts.

    Where nothing was compared, and the route's first sync brings over as many as differ, that sync is pending.
    """
    numbers = _differing_numbers(copied, counts)
    if not numbers:
        return
    text = f"copying read another number of documents than the source now counts, by type of _id: {numbers}"
    if evidence.level != "none" or not _first_sync_explains(evidence, copied):
        yield Finding("mismatches", text)
        return
    why = (
        "its first sync reads the whole collection"
        if evidence.first_sync == "rescan"
        else f"{amount(sum(evidence.came_or_went.values()), 'has', 'have')} changed since the copy began, and its first"
        " sync follows them"
    )
    yield Finding("pending", f"{text}; {why}: run `offramp sync`, then verify")


def _first_sync_explains(evidence: Evidence, copied: Tally) -> bool:
    if evidence.first_sync == "rescan":
        return True
    return evidence.first_sync == "stream" and _may_explain(evidence.came_or_went, copied, evidence.source_counts or {})


def _may_explain(came_or_went: Mapping[str, int], tally: Tally, counts: Mapping[str, int]) -> bool:
    """Return whether no more documents of any type of `_id` differ in number than may have come or gone."""
    kinds = {*counts, *tally.id_types}
    return all(abs(counts.get(kind, 0) - tally.id_types.get(kind, 0)) <= came_or_went.get(kind, 0) for kind in kinds)


def _differing_numbers(tally: Tally, counts: Mapping[str, int]) -> str:
    """Return how many were read of how many there are, by BSON type of `_id` where that differs; "" for nowhere."""
    wrong = sorted(kind for kind in {*counts, *tally.id_types} if counts.get(kind, 0) != tally.id_types.get(kind, 0))
    return ", ".join(f"{kind} {number(tally.id_types.get(kind, 0))} of {number(counts.get(kind, 0))}" for kind in wrong)


def _different(errors: Iterable[Exception]) -> list[str]:
    """Return the texts of the errors in their order, each once."""
    return list(dict.fromkeys(map(str, errors)))


def _compared_differences(
    tally: Tally, counts: Mapping[str, int], came_or_went: Mapping[str, int]
) -> Iterator[Finding]:
    """Yield a finding if another number of any BSON type of `_id` was verified than the source counts (R157).

    Where no more differ than may have come or gone since, that is unsettled, and no mismatch.
    """
    numbers = _differing_numbers(tally, counts)
    if not numbers:
        return
    text = f"verification read another number of documents than the source now counts, by type of _id: {numbers}"
    if _may_explain(came_or_went, tally, counts):
        text = f"unsettled: {text}; documents came or went; run `offramp sync`, then verify again"
        yield Finding("failed", text)
    else:
        yield Finding("mismatches", text)


def open_rejects(evidence: Evidence) -> int:
    """Return how many documents are rejected and not accepted, by what copying and what a comparison saw.

    An acceptance is of one document's reject, so that the comparison is asked too: what was rejected when it was copied
    and accepted may be gone, and another document have come to be rejected that nobody knows of.
    """
    recorded, copied, comparison = evidence.rejects, evidence.copied, evidence.comparison
    if comparison is None:
        if evidence.rewritten:
            return recorded.open
        return max(0, copied.rejected - recorded.accepted) if copied is not None else 0
    compared = comparison.tally.rejected - comparison.tally.accepted
    if evidence.sampled is None:
        compared += recorded.open_refused
    else:  # A sample meets only some of the rejects, and may meet none.
        compared = max(compared, recorded.open)
    if evidence.rewritten or copied is None:
        return compared
    return max(compared, copied.rejected - recorded.accepted)


def _why_unsettled(evidence: Evidence) -> str:
    if evidence.following is None:
        return "their documents kept changing, or sync had not come so far; verify again"
    if evidence.pending_unknown:
        return f"which changes are still to be synced cannot be told: {evidence.pending_unknown}"
    return "their documents have changed since the last sync, or kept changing; run `offramp sync`, then verify again"


def _unaccepted(loss: FieldLoss) -> str:
    where = f"at {loss.field!r}" if loss.field else "in documents as a whole"
    key = loss.kind if loss.field in ("", OTHER_FIELDS) else f"{loss.field}:{loss.kind}"
    return (
        f"{amount(loss.count, f'value {where} was', f'values {where} were')} not kept exactly ({loss.kind}); if that is"
        f" all right, say so in the route: accept_loss: [{json.dumps(key, ensure_ascii=False)}]"
    )
