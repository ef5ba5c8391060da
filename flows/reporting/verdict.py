"""The verdict of a route: its report, made from the evidence, with the finding of every rule."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Mapping

from flows.reporting.evidence import Evidence
from flows.reporting.losses import field_losses
from flows.reporting.model import RouteReport, worst
from flows.reporting.rules import RULES, open_rejects
from flows.verifier.compare import Comparison
from flows.verifier.sample import proven
from stores.contract.journal import Tally


def judge(evidence: Evidence) -> RouteReport:
    """Return the route's report: the finding of each rule is a reason, and the worst finding is the verdict.

    A route of which no rule has a finding is clean.
    """
    findings = [finding for rule in RULES for finding in rule(evidence)]
    tally, comparison, balance, counts = evidence.tally, evidence.comparison, evidence.balance, evidence.counts
    copied = Tally() if evidence.figures == "none" else tally
    counted = counts is not None and counts.held is not None
    return RouteReport(
        route=evidence.route,
        collection=evidence.collection,
        target=evidence.target,
        documents=evidence.documents,
        read=copied.read,
        dropped=copied.dropped,
        rejected=tally.rejected,
        copied=copied.copied,
        records=copied.records,
        held=balance.held if balance else counts.held if counts else None,
        missing=balance.missing if balance else None,
        differs=balance.differs if balance else None,
        extra=balance.extra if balance else None,
        collides=balance.collides if balance else None,
        expired=balance.expired if balance else None,
        losses=dict(sorted(tally.losses.items())),
        verdict=worst(finding.verdict for finding in findings),
        verified=evidence.level if balance or counted else "none",
        backfill_s=_rounded(evidence.backfill_s),
        verify_s=_rounded(evidence.verify_s),
        reasons=[finding.reason for finding in findings],
        samples=balance.samples if balance else {},
        differing=comparison.differing if comparison and comparison.balance.differs else None,
        # What a sync copied again is no picture of the whole collection.
        sizes={str(1 << bits - 1): count for bits, count in sorted(tally.sizes.items()) if evidence.synced is None},
        lost=field_losses(tally, evidence.accept_loss),
        sync=evidence.following,
        accepted=evidence.rejects.accepted,
        open_rejects=open_rejects(evidence),
        repairs=[dataclasses.asdict(repair) | {"last": _iso(repair.last)} for repair in evidence.repairs],
        accepted_rejects=[
            dataclasses.asdict(acceptance) | {"at": _iso(acceptance.at)} for acceptance in evidence.accepted
        ],
        unsettled=balance.unsettled if balance else None,
        inconclusive=balance.inconclusive if balance else None,
        sampled=proven(evidence.sampled, evidence.documents) if evidence.sampled else None,
        verification=evidence.full_pass,
        counted_by=counts.way if counts else "",
        codes=list(dict.fromkeys(error.code for error in evidence.failures)),
        figures=evidence.figures,
        compared=_compared(comparison) if comparison else {},
    )


def _compared(comparison: Comparison) -> Mapping[str, int]:
    tally = comparison.tally
    return {
        "documents": tally.read,
        "dropped": tally.dropped,
        "rejected": tally.rejected,
        "records": comparison.balance.records,
    }


def _rounded(seconds: float | None) -> float | None:
    return round(seconds, 1) if seconds is not None else None


def _iso(seconds: float) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.UTC).isoformat(timespec="seconds")
