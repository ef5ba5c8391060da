"""What a report tells a person to do: each advice as data, so that a test can hold it against the commands and keys."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from flows.error_codes import CATALOGUE
from flows.reporting.entries import entries, without_verdict
from flows.reporting.model import Report, RouteReport
from flows.verifier.ledger import is_systemic
from stores.contract.stop import STOPPED

_MOST_NAMED = 5
"""Routes that a command names; of more the step lists the names, and a person chooses."""
_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class Advice:
    """What to do about the routes it applies to."""

    applies: Callable[[RouteReport], bool]
    text: str
    """One or more sentences. Commands and keys of the plan are between backticks; `--route ROUTE` is for all routes."""


def _has_verdict(*verdicts: str) -> Callable[[RouteReport], bool]:
    return lambda row: row.verdict in verdicts


def _was_signalled(row: RouteReport) -> bool:
    return row.verdict == "stopped" and any(reason.startswith(STOPPED) for reason in row.reasons)


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


def _is_unexplained(row: RouteReport) -> bool:
    """Return whether the route failed without a code of the catalogue, whose remedy would say what to do."""
    known = any(code in CATALOGUE for code in row.codes)
    return row.verdict == "failed" and not (known or _is_open(row) or _is_empty(row) or _is_uncounted(row))


def _is_empty(row: RouteReport) -> bool:
    """Return whether nothing was there to compare or to count."""
    nothing = row.held == 0 and not row.missing and row.backfilled
    return row.verdict == "failed" and nothing and not row.codes and not _is_open(row)


def _is_uncounted(row: RouteReport) -> bool:
    """Return whether the target was counted, and the number proves nothing."""
    return row.verdict == "failed" and bool(row.held) and row.missing is None and row.backfilled and not row.codes


def _was_never_copied(row: RouteReport) -> bool:
    """Return whether the plan's state has no copy of the route, and nothing else says so."""
    return not row.backfilled and row.verdict not in ("clean", "stopped") and "E-NOT-COPIED" not in row.codes


ADVICE: Sequence[Advice] = (
    Advice(
        _is_unexplained,
        "Read the reasons below; `offramp explain CODE` says what a code means and what to do. Then run the same"
        " command again, without `--restart`: it resumes at the last checkpoint.",
    ),
    Advice(
        _is_open,
        "Records had no answer yet. Bring over what changed with `offramp sync PLAN --route ROUTE`, then run `offramp"
        " verify PLAN --route ROUTE`.",
    ),
    Advice(
        _is_uncounted,
        "Counting proves nothing here. Bring over what changed with `offramp sync PLAN --route ROUTE`, then compare"
        " every record with `offramp verify PLAN --level full --route ROUTE`.",
    ),
    Advice(
        _is_empty,
        "Nothing was there to compare. If that is right, say `allow_empty: true` in the route and run the same command"
        " again.",
    ),
    Advice(_was_signalled, "Run the same command again, without `--restart`: it resumes at the last checkpoint."),
    Advice(
        _is_over_budget,
        "`offramp rejects list PLAN --route ROUTE` shows the rejected documents and why. Correct the cause, or raise"
        " the limit that the reason names under `rejects`, and run the same command, which resumes. After a change of"
        " the route or its mapper run `offramp backfill PLAN --restart --route ROUTE`.",
    ),
    Advice(
        _was_never_copied, "Not backfilled from this plan's state: copy with `offramp backfill PLAN --route ROUTE`."
    ),
    Advice(
        _is_repairable,
        "If the source was written to meanwhile, bring that over with `offramp sync PLAN --route ROUTE`. Copy again"
        " what was found missing or different with `offramp repair PLAN --route ROUTE`, then run `offramp verify PLAN"
        " --route ROUTE`.",
    ),
    Advice(
        lambda row: _is_repairable(row) and bool(row.extra),
        "Delete the records that no document maps to with `offramp repair PLAN --delete-extras --route ROUTE`. It"
        " leaves and names those that this route cannot have made: move them away, or give the route another `key`.",
    ),
    Advice(
        _is_systemic,
        "So much is wrong that there must be a common cause: a writer that was not synced (`offramp sync PLAN --route"
        " ROUTE`), or something else that writes to the target. Remove it, copy again with `offramp backfill PLAN"
        " --restart --route ROUTE`, or copy only what was found wrong with `offramp repair PLAN --all --route ROUTE`.",
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
        "Bring over what changed with `offramp sync PLAN --route ROUTE`, then compare every record with `offramp verify"
        " PLAN --route ROUTE`.",
    ),
    Advice(
        lambda row: row.verdict in ("rejects", "mismatches") and row.backfilled and row.open_rejects > 0,
        "`offramp rejects list PLAN --route ROUTE` shows the rejected documents and why. It shows those that have"
        " changed since they were copied only after `offramp sync PLAN --route ROUTE`. Correct them in the source and"
        " run `offramp rejects retry PLAN --route ROUTE`, or accept them with `offramp rejects drop PLAN --all --reason"
        " TEXT --route ROUTE`. After a change of the route or its mapper run `offramp backfill PLAN --restart --route"
        " ROUTE`.",
    ),
    Advice(
        _has_verdict("pending"),
        "Run `offramp sync PLAN --route ROUTE`. When the writers have stopped, sync once more and run `offramp verify"
        " PLAN --route ROUTE`.",
    ),
    Advice(
        lambda row: row.verdict == "clean" and row.verified != "full",
        "Run `offramp verify PLAN --level full --route ROUTE` before the source is retired.",
    ),
)
"""Every advice but the remedies of codes, in the order in which a report gives them, which is after the remedies."""

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
    """Return what to do now, the most urgent first; commands name the routes that they are for."""
    rows = [entry.row for entry in entries(report)]
    unknown = [other.route for other in without_verdict(report)]
    steps = [Step(KEEP)] if report.plan_verdict != "clean" else []
    advised = [*_remedies(rows), *((each.text, [row.route for row in rows if each.applies(row)]) for each in ADVICE)]
    for text, routes in advised:
        if routes:
            whole = len(routes) == len(rows) and not unknown
            steps.append(Step(_for_routes(text, [] if whole else routes), () if whole else routes))
    if unknown:
        steps.append(Step(_for_routes(FIND_OUT, unknown if rows else []), unknown))
    return steps or [Step(SIGN)]


def _remedies(rows: Sequence[RouteReport]) -> Iterable[tuple[str, Sequence[str]]]:
    """Yield what the catalogue says about each code by which routes failed, with these routes."""
    failed: dict[str, list[str]] = {}
    for row in rows:
        for code in row.codes if row.verdict == "failed" else ():
            failed.setdefault(code, []).append(row.route)
    for code, routes in failed.items():
        if (entry := CATALOGUE.get(code)) is not None:
            yield f"{code}: {entry.advice}", routes


def _for_routes(text: str, routes: Sequence[str]) -> str:
    """Return the text with these routes in its commands, none for the whole plan.

    The text stays as it is for more routes than a command should name, and for names that a shell or a page would read.
    """
    if len(routes) > _MOST_NAMED or not all(map(_PLAIN_NAME.fullmatch, routes)):
        return text
    return text.replace(" --route ROUTE", "".join(f" --route {route}" for route in routes))
