"""What a report tells a person to do: each advice as data, so that a test can hold it against the commands and keys."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from flows.reporting.entries import entries, without_verdict
from flows.reporting.model import Report, RouteReport
from flows.verifier.ledger import is_systemic


@dataclass(frozen=True, slots=True)
class Advice:
    """What to do about the routes it applies to."""

    applies: Callable[[RouteReport], bool]
    text: str
    """One or more sentences; commands and keys of the plan stand between backticks."""


def _has_verdict(*verdicts: str) -> Callable[[RouteReport], bool]:
    return lambda row: row.verdict in verdicts


def _was_signalled(row: RouteReport) -> bool:
    return row.verdict == "stopped" and any(reason.startswith("E-STOPPED") for reason in row.reasons)


def _is_over_budget(row: RouteReport) -> bool:
    return row.verdict == "stopped" and not _was_signalled(row)


def _is_open(row: RouteReport) -> bool:
    """Return whether the route's verdict is failed for records without an answer."""
    return row.verdict == "failed" and bool(row.unsettled or row.inconclusive)


def _wrong(row: RouteReport) -> int:
    return (row.missing or 0) + (row.differs or 0) + (row.extra or 0)


def _is_wrong(row: RouteReport) -> bool:
    return row.verdict == "mismatches" and row.backfilled and _wrong(row) > 0


def _is_repairable(row: RouteReport) -> bool:
    return _is_wrong(row) and not is_systemic(_wrong(row), row.documents or 0)


def _is_systemic(row: RouteReport) -> bool:
    return _is_wrong(row) and is_systemic(_wrong(row), row.documents or 0)


def _differs_in_number(row: RouteReport) -> bool:
    """Return whether only counts are known to differ: nothing is on record that could be repaired."""
    known = _wrong(row) or row.collides or any(not loss.accepted for loss in row.lost)
    return row.verdict == "mismatches" and row.backfilled and not known


ADVICE: Sequence[Advice] = (
    Advice(
        lambda row: row.verdict == "failed" and not _is_open(row),
        "Read the reasons below; `offramp explain CODE` says what a code means and what to do. Then run the same"
        " command again: it resumes at the last checkpoint.",
    ),
    Advice(
        _is_open,
        "Records had no answer yet. Bring over what changed with `offramp sync PLAN`, then run `offramp verify PLAN`.",
    ),
    Advice(_was_signalled, "Run the same command again: it resumes at the last checkpoint."),
    Advice(
        _is_over_budget,
        "`offramp rejects list PLAN` shows the rejected documents and why. Correct the cause, or raise the limit that"
        " the reason names under `rejects`, and run the same command, which resumes. After a change of the route or its"
        " mapper run `offramp backfill PLAN --restart --route ROUTE`.",
    ),
    Advice(
        lambda row: not row.backfilled and row.verdict != "clean",
        "The route was not backfilled from this plan's state: copy it with `offramp backfill PLAN --route ROUTE`.",
    ),
    Advice(
        _is_repairable,
        "If the source was written to meanwhile, bring that over with `offramp sync PLAN`. Copy again what was found"
        " missing or different with `offramp repair PLAN`, then run `offramp verify PLAN`.",
    ),
    Advice(
        lambda row: _is_repairable(row) and bool(row.extra),
        "Delete the records that no document maps to with `offramp repair PLAN --delete-extras`.",
    ),
    Advice(
        _is_systemic,
        "So much is wrong that there must be a common cause: a writer that was not synced (`offramp sync PLAN`), or"
        " something else that writes to the target. Remove it, copy again with `offramp backfill PLAN --restart --route"
        " ROUTE`, or copy only what was found wrong with `offramp repair PLAN --all`.",
    ),
    Advice(
        lambda row: row.verdict == "mismatches" and bool(row.collides),
        "Several documents have the same address: correct the route's `key`, then run `offramp backfill PLAN --restart"
        " --route ROUTE`.",
    ),
    Advice(
        lambda row: row.verdict == "mismatches" and any(not loss.accepted for loss in row.lost),
        "Values were not kept exactly: accept them with `accept_loss` in the route, or choose another policy under"
        " `values` and run `offramp backfill PLAN --restart --route ROUTE`.",
    ),
    Advice(
        _differs_in_number,
        "Bring over what changed with `offramp sync PLAN`, then compare every record with `offramp verify PLAN`.",
    ),
    Advice(
        lambda row: row.verdict in ("rejects", "mismatches") and row.rejected > row.accepted,
        "`offramp rejects list PLAN` shows the rejected documents and why. Correct them in the source and run"
        " `offramp rejects retry PLAN`, or accept them with `offramp rejects drop PLAN --all --reason TEXT`. After a"
        " change of the route or its mapper run `offramp backfill PLAN --restart --route ROUTE`.",
    ),
    Advice(
        _has_verdict("pending"),
        "Run `offramp sync PLAN`. When the writers have stopped, sync once more and run `offramp verify PLAN`.",
    ),
    Advice(
        lambda row: row.verdict == "clean" and row.verified != "full",
        "Run `offramp verify PLAN --level full` before the source is retired.",
    ),
)
"""Every advice, in the order in which a report gives them."""

SIGN = "Read what was not checked. If that is acceptable, sign this page and keep it with report.json."
"""What to do with a report whose routes are all clean and verified in full."""
FIND_OUT = (
    "No verdict stands. Copy what was never copied with `offramp backfill PLAN --route ROUTE`; compare what was with"
    " `offramp verify PLAN --route ROUTE`."
)
"""What to do about routes of the plan that a run was not about and that have no verdict."""
KEEP = "Do not retire the source yet."
"""What comes first where a route is not clean."""


@dataclass(frozen=True, slots=True)
class Step:
    """What to do now."""

    text: str
    """As in `Advice`."""
    routes: Sequence[str] = ()
    """The routes it is for; none if it is for all."""

    def __str__(self) -> str:
        return f"{', '.join(self.routes)}: {self.text}" if self.routes else self.text


def next_steps(report: Report) -> list[Step]:
    """Return what to do now, the most urgent first."""
    steps = [Step(KEEP)] if report.plan_verdict != "clean" else []
    rows = [entry.row for entry in entries(report)]
    unknown = without_verdict(report)
    for advice in ADVICE:
        routes = [row.route for row in rows if advice.applies(row)]
        if routes:
            whole = len(routes) == len(rows) and not unknown
            steps.append(Step(advice.text, () if whole else routes))
    if unknown:
        steps.append(Step(FIND_OUT, [other.route for other in unknown]))
    return steps or [Step(SIGN)]
