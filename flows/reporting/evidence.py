"""What a route's report is made from: what the run recorded, counted and compared, before anything is judged."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from flows.reporting.model import Figures, Following
from flows.verifier.compare import Comparison
from flows.verifier.counts import Counts
from flows.verifier.job import Level
from flows.verifier.ledger import Balance
from flows.verifier.sample import Sampled
from stores.contract.journal import Tally
from stores.errors import OfframpError, OverBudget
from stores.state.rejects import AcceptedRejects, RejectCount
from stores.state.repairs import ActionCount

Failures = defaultdict[str, list[OfframpError]]
"""Every error of each route of a run, in the order they occurred; a route without an error is not in it."""


def add_errors(failures: Failures, outcomes: Mapping[str, object]) -> None:
    """Each of the outcomes, by route, that is an OfframpError is among the failures of its route."""
    for name, outcome in outcomes.items():
        if isinstance(outcome, OfframpError):
            failures[name].append(outcome)


@dataclass(frozen=True)
class Evidence:
    """What a backfill, a verification or a sync found out about one route."""

    route: str
    collection: str
    target: str
    level: Level = "none"
    """How the target was to be verified."""
    copied: Tally | None = None
    """What copying recorded; None where this plan never copied the route."""
    complete: bool = True
    """Whether every partition was copied to its end."""
    synced: Tally | None = None
    """What this sync copied again, for the report of a sync."""
    source_counts: Mapping[str, int] | None = None
    """The source's own count per BSON type of `_id`; None where it was not asked or did not answer."""
    came_or_went: Mapping[str, int] = field(default_factory=dict)
    """Documents per BSON type of `_id` that changed since the last sync, or since the copy began where none ran yet: as
    many may have come or gone meanwhile."""
    changed: bool = False
    """Whether a document is known to have changed since the last sync, or since the copy began where none ran yet;
    asked where nothing was compared and no number of documents differs, and where documents are counted again."""
    one_record: bool = False
    """Whether each document that is not rejected has exactly one record, for as long as nothing expires."""
    first_sync: Literal["", "stream", "rescan"] = ""
    """How the first sync will find what changed since the copy began; "" if none is due, or it cannot find all."""
    comparison: Comparison | None = None
    """What a sample or a full pass saw; None where nothing was compared."""
    sampled: Sampled | None = None
    """What was drawn, for a pass over a sample."""
    counts: Counts | None = None
    """What the target holds, for a pass that only counts."""
    full_pass: Mapping[str, Any] = field(default_factory=dict)
    """The full pass itself: its id, when it began, how often it was resumed, and its partitions."""
    pending_unknown: str = ""
    """Why the changes that are still to be synced are unknown; "" if they are known."""
    target_faults: Sequence[str] = ()
    """Why the target does not serve what it holds as the plan says, by its own audit."""
    failures: Sequence[OfframpError] = ()
    """The route's errors, in the order they occurred; several partitions may have failed with the same one."""
    halted: str = ""
    """Why copying stopped at a checkpoint for its rejects, in this run or an earlier one; "" if it did not."""
    rejects: RejectCount = RejectCount(0, 0, 0, 0)  # noqa: RUF009 - frozen, so that it can be shared
    """Documents on record as rejected."""
    accepted: Sequence[AcceptedRejects] = ()
    """The rejects that persons have accepted."""
    following: Following | None = None
    """How far the target follows the source; None for a route that was never synced."""
    recopied: bool = False
    """Whether a repair or a retry has copied documents again since the backfill."""
    repairs: Sequence[ActionCount] = ()
    """What was done to the target since its backfill, other than by sync."""
    allow_empty: bool = False
    """Whether the plan accepts a route without records."""
    accept_loss: Sequence[str] = ()
    """The losses the plan accepts: kinds, fields, or field:kind."""
    expires: bool = False
    """Whether records of this route may expire."""
    backfill_s: float | None = None
    verify_s: float | None = None

    @property
    def failed(self) -> Sequence[OfframpError]:
        """The errors that kept the route from its end; exceeding the reject budget stops it on purpose, so is none."""
        return [error for error in self.failures if not isinstance(error, OverBudget)]

    @property
    def over_budget(self) -> Sequence[OverBudget]:
        """The errors by which the route stopped for its rejects."""
        return [error for error in self.failures if isinstance(error, OverBudget)]

    @property
    def rewritten(self) -> bool:
        """Whether a sync or a repair wrote since the backfill: what copying recorded is then history."""
        return self.synced is not None or self.following is not None or self.recopied

    @property
    def balance(self) -> Balance | None:
        """What became of the records that were compared."""
        return self.comparison.balance if self.comparison else None

    @property
    def documents(self) -> int | None:
        """The source's own count of documents."""
        return sum(self.source_counts.values()) if self.source_counts is not None else None

    @property
    def figures(self) -> Figures:
        """What the figures of `tally` are of."""
        if self.synced is not None:
            return "sync"
        if self.copied is None:
            return "none"
        if not self.rewritten:
            return "copy"
        if self.comparison is None:
            return "past"
        return "comparison" if self.sampled is None else "sample"

    @property
    def tally(self) -> Tally:
        """The figures of the route: of this sync, else of the comparison after a rewrite, else of the backfill."""
        if self.synced is not None:
            return self.synced
        if self.comparison is not None and (self.rewritten or self.copied is None):
            return self._as_compared(self.comparison) if self.rewritten else self.comparison.tally
        return self.copied or Tally()

    def _as_compared(self, comparison: Comparison) -> Tally:
        """Return what became of the documents there are now, as the comparison mapped them and the target took them."""
        if self.sampled is not None:
            refused = self.sampled.refused
        else:
            refused = self.rejects.open_refused + self.rejects.accepted_refused
        now = dataclasses.replace(comparison.tally)
        now.rejected += refused
        now.copied -= refused
        now.records -= comparison.balance.refused
        return now
