"""The faults of a list of transforms, found when the plan loads: of each transform, and between transforms."""

from __future__ import annotations

from collections.abc import Sequence

from mappers.transforms.transform import Fault, Known, Transform


def faults(
    transforms: Sequence[Transform], *, keep: Sequence[str] | None = None, drop: Sequence[str] = ()
) -> list[Fault]:
    """Return all faults of the transforms that follow `fields` with these lists; none means that they compose.

    The place of each fault begins with the transform's index in the list and its name.
    """
    known = _known(keep, drop)
    listed_faults: list[Fault] = []
    for at, transform in enumerate(transforms):
        own = list(transform.check())
        if not own:  # What documents are after a transform with faults cannot be said.
            own = [
                (where, reason)
                for where, path in transform.reads()
                if (reason := known.lacking(path, transform.useless_on)) is not None
            ]
            transform.follow(known, _step(at, transform))
        listed_faults += [((at, transform.name, *where), text) for where, text in own]
    return listed_faults


def lacking(
    transforms: Sequence[Transform], path: str, *, keep: Sequence[str] | None = None, drop: Sequence[str] = ()
) -> str | None:
    """Return why no document has the field after these transforms, which must be faultless; None if one may."""
    known = _known(keep, drop)
    for at, transform in enumerate(transforms):
        transform.follow(known, _step(at, transform))
    return known.lacking(path)


def undating(transforms: Sequence[Transform], path: str) -> str | None:
    """Return the transform that leaves something other than a date in the field; None if there is none."""
    step: str | None = None
    for at, transform in enumerate(transforms):
        is_date = transform.leaves_date(path)
        if is_date is not None:
            step = None if is_date else _step(at, transform)
    return step


def _step(at: int, transform: Transform) -> str:
    return f"transforms.{at}.{transform.name}"


def _known(keep: Sequence[str] | None, drop: Sequence[str]) -> Known:
    known = Known()
    if keep is not None:
        known.select(keep, "fields.keep")
    for path in drop:
        known.remove(path, "fields.drop")
    return known
