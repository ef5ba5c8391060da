"""The losses of a route by field, and which of them its plan accepts."""

from __future__ import annotations

from collections.abc import Sequence

from flows.reporting.model import FieldLoss
from mappers.losses import Loss, LossFields
from stores.contract.journal import Tally


def field_losses(tally: Tally, accepted: Sequence[str]) -> list[FieldLoss]:
    """Return the losses by field and kind, most frequent first; one that was counted without a field has field ""."""
    losses: LossFields = dict(tally.lost)
    for kind, count in tally.losses.items():
        with_field = sum(loss.count for (_, other), loss in losses.items() if other == kind)
        if with_field < count:
            known = losses.get(("", kind), Loss())
            losses["", kind] = Loss(known.count + count - with_field, known.examples)
    return [
        FieldLoss(path, kind, loss.count, loss.examples, _accepts(accepted, path, kind))
        for (path, kind), loss in sorted(losses.items(), key=lambda entry: (-entry[1].count, entry[0]))
    ]


def _accepts(accepted: Sequence[str], path: str, kind: str) -> bool:
    """Return whether the plan names the kind, the field (or one above it), or both."""
    above = [".".join(path.split(".")[:length]) for length in range(1, path.count(".") + 2)] if path else []
    return any(key in accepted for key in (kind, *above, *(f"{field}:{kind}" for field in above)))
