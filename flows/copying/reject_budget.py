"""How many rejects a route may have before it stops: in all, of what was read, in a row, of one batch (R142)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from flows.plan.keys import RejectKeys
from flows.plan.model import Plan, Route
from stores.errors import OverBudget
from stores.state.database import State
from stores.state.leases import Lease
from stores.state.rejects import OPEN, Kind, Rejects

_MOST = 1_000
_SHARE = 0.001
_FAIR = 100_000
"""Documents of which a share is judged: of fewer, a handful of bad ones would be a large part."""
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


def budget(plan: Plan, route: Route) -> Budget:
    """Return the route's budget: each key as the route says, else the plan, else by default."""
    keys = {name: _said(plan, route, name) for name in ("most", "share", "in_a_row", "batch_share")}
    return Budget(**{name: value for name, value in keys.items() if value is not None})


def keeps_documents(plan: Plan, route: Route) -> bool:
    """Whether rejected documents of the route may be kept in the state."""
    return bool(_said(plan, route, "documents"))


@dataclass(slots=True)
class Spending:
    """What one worker spends of a route's budget: `flows.copying.partition.Spending` on the plan's state."""

    state: State
    lease: Lease
    budget: Budget
    _row: int = 0
    """Documents rejected one after another, up to now."""
    _why: str = field(default="", init=False)
    _counted: bool = False
    """Whether the rejects on record are judged, but for those of others, who judge them themselves."""

    def rejected(self, read: int, rejected: Collection[int], refused: int) -> bool:
        """Count a batch's rejects, by place in the batch; returns whether they are too many by themselves.

        `refused` is how many of the documents it was the target that refused.
        """
        if not rejected:
            self._row = 0 if read else self._row
            return False
        self._counted = False
        for place in range(read):
            self._row = self._row + 1 if place in rejected else 0
            if self._row >= self.budget.in_a_row:
                self._why = f"{self._row} documents in a row were rejected (rejects.in_a_row {self.budget.in_a_row})"
        if read >= _FAIR_BATCH and refused > self.budget.batch_share * read:
            self._why = (
                f"the target refused {refused} of {read} documents of one batch"
                f" (rejects.batch_share {self.budget.batch_share:g}), which no few bad documents explain"
            )
        return bool(self._why)

    def judge(self) -> None:
        """Return while the route may go on; raises OverBudget once it may not, whichever worker found so."""
        room, route = Rejects(self.state), self.lease.route
        if told := room.halted(route):
            raise _over(told)
        why = self._why or ("" if self._counted else self._overspent(room.count(route).open))
        self._counted = True
        if why:
            told = f"stopped: {why}{_commonest(room.kinds(route, OPEN))}"
            room.halt(self.lease, told)
            raise _over(told)

    def _overspent(self, documents: int) -> str:
        if documents > self.budget.most:
            return f"{documents} documents were rejected (rejects.most {self.budget.most})"
        if documents > self.budget.share * _FAIR:
            read = sum(part.tally.read for part in self.state.partitions(self.lease.route))
            if read >= _FAIR and documents > self.budget.share * read:
                return f"{documents} of {read} documents were rejected (rejects.share {self.budget.share:g})"
        return ""


def _said(plan: Plan, route: Route, name: str) -> Any:
    keys: list[RejectKeys | None] = [route.keys.rejects, plan.rejects]
    return next((value for one in keys if one is not None and (value := getattr(one, name)) is not None), None)


def _commonest(kinds: list[Kind]) -> str:
    if not kinds:
        return ""
    first = kinds[0]
    where = f" at {first.field}" if first.field else ""
    return f"; most often {first.stage}: {first.code}{where} ({first.documents} times: {first.reason})"


def _over(told: str) -> OverBudget:
    return OverBudget(
        "E-REJECTS-BUDGET",
        f"{told}. See `offramp rejects list`; mend the plan, the mapper or the documents, or raise that key under"
        " rejects, and run the same command, which goes on",
    )
