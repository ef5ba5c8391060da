"""Documents mapped as a copy maps them, to see before a run which would be rejected; nothing is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flows.connect.design import design_mapping
from flows.connect.stores import build_projection
from flows.copying.reject_budget import describe_cause
from flows.plan.model import Route, is_plain
from flows.quantities import counted, number
from stores.contract.journal import Reject
from stores.contract.source import Batch

_CAUSES_SHOWN = 3


@dataclass(frozen=True, slots=True)
class SampleCause:
    """The documents of a sample that are rejected for one cause."""

    stage: str
    """decode, transform or map."""
    code: str
    field: str
    documents: int
    reason: str
    """Why the first of them is rejected."""


@dataclass(frozen=True, slots=True)
class SampleMapping:
    """What became of a sample of a route's documents."""

    documents: int
    """The documents that were mapped."""
    rejected: int
    """Those of them that a backfill would reject."""
    causes: Sequence[SampleCause]
    """Why, the most frequent first."""

    @property
    def is_hopeless(self) -> bool:
        """Whether there are documents and all of them are rejected."""
        return 0 < self.documents == self.rejected

    def describe(self) -> str:
        """Return how many documents are rejected and the most frequent causes; "" where none is."""
        if not self.rejected:
            return ""
        looked_at = f"{counted(self.documents, 'document')} looked at"
        begins = (
            f"none of the {looked_at} can" if self.is_hopeless else f"{number(self.rejected)} of {looked_at} cannot"
        )
        shown = [
            describe_cause(cause.stage, cause.code, cause.field, cause.documents, cause.reason)
            for cause in self.causes[:_CAUSES_SHOWN]
        ]
        more = len(self.causes) - len(shown)
        return f"{begins} be copied: {'; '.join([*shown, *([counted(more, 'other cause')] if more else [])])}"


def map_sample(
    route: Route, documents: Sequence[bytes], design: Mapping[str, Any] | None, id_kind: str
) -> SampleMapping:
    """Return what becomes of these documents by the route's own projection. Writes nothing and asks no store.

    `expires: from_index` is resolved in `route`. `design` is the one on record; without it the documents themselves
    decide. `id_kind` is what was proven for plain keys, "" where keys are typed or no kind was proven. Raises PlanError
    where no design serves the documents, and PermanentError as a projection does.
    """
    target = route.target()
    try:
        if design is None:
            design = design_mapping(route, documents, target)
        unproven = is_plain(route) and not id_kind
        projection = build_projection(route, target, design, None if unproven else id_kind)
        rejects = projection.batch(Batch(documents, b"")).rejects
    finally:
        target.close()
    return SampleMapping(len(documents), len(rejects), _causes(rejects))


def _causes(rejects: Sequence[Reject]) -> Sequence[SampleCause]:
    alike: dict[tuple[str, str, str], list[Reject]] = {}
    for reject in rejects:
        alike.setdefault((reject.stage, reject.code, reject.field), []).append(reject)
    causes = [SampleCause(*cause, len(group), group[0].reason) for cause, group in alike.items()]
    return sorted(causes, key=lambda cause: (-cause.documents, cause.stage, cause.code, cause.field))
