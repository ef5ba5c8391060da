"""Losses: values that a target cannot keep exactly, counted by field and kind, with examples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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
    """The count of one kind of loss in one field, and examples of such documents."""

    count: int = 0
    examples: list[str] = field(default_factory=list)
    """Typed texts of a few `_id`s."""


LossFields = dict[tuple[str, str], Loss]
"""Losses by field path and kind; "" is the document as a whole."""

Lost = tuple[str, str]
"""One value that one document lost: its field's path and the kind of loss."""
NOTHING_LOST: Sequence[Lost] = ()
"""The losses of nearly every document."""


class Losses:
    """Collects the values of one document that a store cannot hold exactly (R29).

    A mapper adds to it while it maps. The caller of the mapper takes the losses before the next document.
    """

    __slots__ = ("_lost",)

    def __init__(self) -> None:
        """Start with nothing lost."""
        self._lost: list[Lost] = []

    def add(self, kind: str, path: str = "") -> None:
        """Add a loss of the document being mapped: the kind of loss, and the path of the field."""
        self._lost.append((path[:_LONGEST_PATH], kind))

    def take(self) -> Sequence[Lost]:
        """Return the losses added since the last call, in their order, and forget them."""
        if not self._lost:
            return NOTHING_LOST
        taken, self._lost = self._lost, []
        return taken


def count_lost(total: LossFields, lost: Iterable[Lost], document: str) -> None:
    """Add this document's losses to the total. Its typed `_id` may become an example."""
    for key in lost:
        add_losses(total, {key: Loss(1, [document[:_EXAMPLE_LENGTH]])})


def add_losses(total: LossFields, more: Mapping[tuple[str, str], Loss]) -> None:
    """Add losses to the total, which names a bounded number of fields."""
    for (path, kind), loss in more.items():
        key = (path, kind)
        if key not in total and len(total) >= MOST_LOSS_FIELDS:
            key = (OTHER_FIELDS, kind)
        entry = total.setdefault(key, Loss())
        entry.count += loss.count
        entry.examples += [example for example in loss.examples if example not in entry.examples]
        del entry.examples[LOSS_EXAMPLES:]
