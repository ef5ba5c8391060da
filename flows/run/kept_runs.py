"""The runs of a plan that its state has on record: which there are, and the report of any of them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass

from flows.connect.progress import Throughput
from flows.connect.stores import open_state_at
from flows.plan.load import StatePlace
from flows.plan.plan_keys import RunKeys
from flows.quantities import number, seconds
from flows.reporting.model import PastRun, Report
from flows.reporting.others import read_report
from stores.errors import PlanError
from stores.state.database import backend
from stores.state.runs import StoredRun
from stores.state.state import State


@dataclass(frozen=True, slots=True)
class KeptRun:
    """A run on record."""

    number: int
    """1 for the latest."""
    run: StoredRun
    at_work: str = ""
    """Who is at work on it, ``host/pid``, as far as its lease tells; "" for a run that has ended or was killed."""
    ends_in_s: float = 0.0
    """How long its lease lasts, if it was killed."""

    @property
    def past(self) -> PastRun:
        """What a list of runs says of it."""
        return past_run(self.run)

    @property
    def verdict(self) -> str:
        """What became of it."""
        return self.past.verdict or (f"at work ({self.at_work})" if self.at_work else "did not end")

    @property
    def note(self) -> str:
        """What cannot be known here of a run that is at work; "" for any other."""
        if not self.at_work:
            return ""
        return (
            f"the run of {shown_time(self.run.began)} is at work ({self.at_work}); if it was killed, its lease ends in"
            f" {seconds(self.ends_in_s)}"
        )


@contextmanager
def open_state_of(place: StatePlace) -> Iterator[State]:
    """Give the state at the place, for the length of the body.

    Raises PlanError E-REPORT-NONE where there is none; it is not made.
    """
    with closing(backend(place.state)) as database:
        there = database.exists()
    if not there:
        raise PlanError("E-REPORT-NONE", f"no run of the plan {place.name!r} has ended yet: its state is not there yet")
    with open_state_at(place.state, place.name, RunKeys.lease_s) as state:
        yield state


def kept_runs(state: State) -> Sequence[KeptRun]:
    """Return the runs of the plan on record, the latest first; no store is asked."""
    holders = {holder.owner: holder for holder in state.leases.holders().values()}
    found = []
    for at, run in enumerate(state.runs.latest_first(), start=1):
        holder = holders.get(run.owner or "") if run.report is None else None
        if holder is None:
            found.append(KeptRun(at, run))
        else:
            found.append(KeptRun(at, run, holder.name, holder.ends_in_s))
    return found


def chosen_run(plan: str, runs: Sequence[KeptRun], wanted: str | None) -> tuple[KeptRun, Report]:
    """Return the wanted run and its report: a number of the list, or the beginning of the time at which it began.

    By default it is the last run that has ended. Raises PlanError where there is none, where several began then, and
    for a run without a report.
    """
    ended = [each for each in runs if each.run.report is not None]
    if wanted is None:
        if not ended:
            raise PlanError("E-REPORT-NONE", f"no run of the plan {plan!r} has ended yet; run backfill or verify first")
        (chosen,) = ended[:1]
    else:
        found = [each for each in runs if _is_meant(each, wanted)]
        if len(found) != 1:
            allowed = f"1 to {number(len(runs))}, or the time at which it began" if runs else "none, as there is no run"
            what = "several runs of the plan" if found else "no run of the plan"
            raise PlanError("E-REPORT-NONE", f"{what} {plan!r} for --run {wanted!r}; allowed: {allowed}")
        (chosen,) = found
    report = read_report(chosen.run)
    if report is None:
        why = "is not readable by this release" if chosen.run.report is not None else chosen.verdict
        began = shown_time(chosen.run.began)
        raise PlanError("E-REPORT-NONE", f"the run of {began} has no report ({why}); choose another run with --run")
    return chosen, report


def shown_time(began: str) -> str:
    """Return the time at which a run began as lists show it."""
    return f"{began[:19].replace('T', ' ')} UTC"


def _is_meant(kept: KeptRun, wanted: str) -> bool:
    if re.fullmatch(r"[0-9]{1,3}", wanted):
        return kept.number == int(wanted)
    text = wanted.strip().removesuffix("UTC").strip().replace(" ", "T")
    return bool(text) and kept.run.began.startswith(text)


def past_run(run: StoredRun) -> PastRun:
    """Return what a list of runs, and a report of a later one, says of a run on record."""
    report = read_report(run)
    if report is None:
        return PastRun(run.command, run.began, sha256=run.digest)
    rates = [
        _fastest(series)
        for row in report.routes
        for series in row.throughput
        if series.stage == "copy" and run.command == "backfill"
    ]
    return PastRun(
        run.command,
        run.began,
        report.finished.isoformat(timespec="seconds"),
        report.verdict,
        sum(row.read for row in report.routes),
        round(max(rates), 1) if rates else None,
        {row.route: row.verdict for row in report.routes},
        run.digest,
    )


def _fastest(series: Throughput) -> float:
    """Return the most documents a second, in stretches of a second or longer.

    In shorter ones the batches of many workers that end in the same moment would count as a rate that no second had.
    """
    width_s = max(series.width_s, 1.0)
    counts: Counter[int] = Counter()
    for stretch, documents in enumerate(series.documents):
        counts[int((series.began + stretch * series.width_s) // width_s)] += documents
    return max(counts.values()) / width_s
