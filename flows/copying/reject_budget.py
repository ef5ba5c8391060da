"""The budget of rejects: a route with more of them, in all, by share, in a row or in one batch, stops (R142)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from flows.plan.model import Plan, Route
from flows.plan.plan_keys import RejectKeys
from flows.quantities import counted, number
from stores.errors import OverBudget
from stores.state.leases import Lease
from stores.state.rejects import OPEN, RejectCause
from stores.state.state import State

_MOST = 1_000
_SHARE = 0.001
_FAIR = 100_000
"""`share` counts from so many documents read on: of fewer, a handful of bad ones would be a large share."""
_IN_A_ROW = 100
_BATCH_SHARE = 0.2
_FAIR_BATCH = 100


@dataclass(frozen=True, slots=True)
class Budget:
    """A route's budget of rejects; accepted ones do not count."""

    most: int = _MOST
    share: float = _SHARE
    in_a_row: int = _IN_A_ROW
    batch_share: float = _BATCH_SHARE


def budget_of(plan: Plan, route: Route) -> Budget:
    """Return the route's budget: each key as the route says, else the plan, else by default."""
    keys = {name: _key(plan, route, name) for name in ("most", "share", "in_a_row", "batch_share")}
    return Budget(**{name: value for name, value in keys.items() if value is not None})


def describe_cause(stage: str, code: str, field: str, documents: int, reason: str) -> str:
    """Return a cause of rejects as a person reads it, with the number of documents and the reason of one of them."""
    where = f" at {field}" if field else ""
    return f"{stage}: {code}{where} ({counted(documents, 'time')}: {reason})"


def keeps_documents(plan: Plan, route: Route) -> bool:
    """Whether rejected documents of the route may be kept in the state."""
    return bool(_key(plan, route, "documents"))


@dataclass(slots=True)
class BudgetTracker:
    """The rejects of one worker against its route's budget: a `partition.RejectBudget` on the plan's state."""

    state: State
    lease: Lease
    budget: Budget
    fair: int = _FAIR
    """The number of documents read from which on `share` counts."""
    _row: int = 0
    """Documents rejected one after another, up to now."""
    _longest_row: int = 0
    _refused: tuple[int, int] = (0, 0)
    """Of the worst batch that exceeds `batch_share`: the documents that the target refused, and all of them."""
    _checked: bool = False
    """Whether every reject of this worker was checked against the budget; other workers check theirs."""

    def rejected(self, read: int, rejected: Collection[int], refused: int) -> bool:
        """Count the rejects of a batch; returns True when it has any.

        The state's count is exact only if each batch with rejects is recorded before the budget is judged.
        `rejected` are the rejected documents' places in the batch, `refused` the number that the target refused.
        """
        if not rejected:
            self._row = 0 if read else self._row
            return False
        self._checked = False
        for place in range(read):
            self._row = self._row + 1 if place in rejected else 0
            self._longest_row = max(self._longest_row, self._row)
        if read >= _FAIR_BATCH and refused > self.budget.batch_share * read:
            self._refused = max(self._refused, (refused, read))
        return True

    def exceeded(self) -> bool:
        """Return whether the route exceeds its budget, by this worker's rejects or another's.

        What another worker found is known here after a second at most.
        """
        if self.state.work_requests.latest(self.lease).halted or self._excess():
            return True
        self._checked = True
        return False

    def judge(self) -> None:
        """Raise OverBudget if the route exceeds its budget; from then on every other worker's `judge` does, too."""
        rejects, route = self.state.rejects, self.lease.route
        if halted := rejects.halt_reason(route):
            raise _over(halted)
        if excess := self._excess():
            halted = f"stopped: {excess}{_most_frequent(rejects.causes(route, OPEN))}"
            rejects.halt(self.lease, halted)
            raise _over(halted)
        self._checked = True

    def _excess(self) -> str:
        """Return which limit is exceeded and by what, "" if none is."""
        budget, (refused, read) = self.budget, self._refused
        if refused:
            return (
                f"{number(refused)} of {counted(read, 'document')} of one batch were refused as they were written"
                f" (limit: rejects.batch_share {budget.batch_share:g}), too many for a few bad documents"
            )
        if self._longest_row >= budget.in_a_row:
            return (
                f"{counted(self._longest_row, 'document')} in a row"
                f" {'was' if self._longest_row == 1 else 'were'} rejected (limit: rejects.in_a_row {budget.in_a_row})"
            )
        if self._checked:
            return ""
        documents = self.state.rejects.count(self.lease.route).open
        if documents > budget.most:
            return (
                f"{counted(documents, 'document was', 'documents were')} rejected (limit: rejects.most {budget.most})"
            )
        if documents > budget.share * self.fair:
            read = self.state.partitions.progress(self.lease.route).read
            if read >= self.fair and documents > budget.share * read:
                return (
                    f"{number(documents)} of {counted(read, 'document was', 'documents were')} rejected"
                    f" (limit: rejects.share {budget.share:g})"
                )
        return ""


def _key(plan: Plan, route: Route, name: str) -> Any:
    keys: list[RejectKeys | None] = [route.keys.rejects, plan.rejects]
    return next((value for key in keys if key is not None and (value := getattr(key, name)) is not None), None)


def _most_frequent(causes: list[RejectCause]) -> str:
    if not causes:
        return ""
    first = causes[0]
    return f"; most often {describe_cause(first.stage, first.code, first.field, first.documents, first.reason)}"


def _over(halted: str) -> OverBudget:
    return OverBudget(
        "E-REJECTS-BUDGET",
        f"{halted}. What was written until then stays in the target and is counted. See `offramp rejects list PLAN`;"
        " correct the documents, or raise that key under rejects, then run the same command, which resumes; after a"
        " change of the route or its mapper add --restart",
    )
