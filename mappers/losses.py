"""What a target cannot hold exactly: counted, by field and kind, with examples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

LOSS_EXAMPLES = 5
"""Documents named for each field and kind of loss."""
MOST_LOSS_FIELDS = 200
"""Fields counted one by one; names that are data (a map keyed by user) must not fill the state."""
OTHER_FIELDS = "(other fields)"
"""Stands for every field past that number."""
_EXAMPLE_LENGTH = 200
_LONGEST_PATH = 500


@dataclass(slots=True)
class Loss:
    """How often one kind of loss befell one field, and in which documents for example."""

    count: int = 0
    examples: list[str] = field(default_factory=list)
    """Typed texts of a few `_id`s."""


LossFields = dict[tuple[str, str], Loss]
"""Losses by field path and kind; "" is the document as a whole."""


def add_losses(total: LossFields, more: Mapping[tuple[str, str], Loss]) -> None:
    """The total counts the others too, in a bounded number of fields."""
    for (path, kind), loss in more.items():
        key = (path, kind)
        if key not in total and len(total) >= MOST_LOSS_FIELDS:
            key = (OTHER_FIELDS, kind)
        entry = total.setdefault(key, Loss())
        entry.count += loss.count
        entry.examples += [one for one in loss.examples if one not in entry.examples]
        del entry.examples[LOSS_EXAMPLES:]
