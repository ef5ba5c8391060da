"""Whether a route's collection and target are those that it was copied from and to, or others of their names (R137)."""

from __future__ import annotations

from mappers.contract import Record
from stores.contract.target import Identified, Inspectable, Target, Tunable
from stores.errors import PermanentError
from stores.state.partitions import RouteState


def refuse_other_source(known: RouteState, identity: str) -> None:
    """Raise PermanentError if what was copied from is no longer there but another of its name (R137)."""
    if identity != known.source_identity:
        raise _made_anew("the collection was dropped and recreated")


def prepare_again(target: Target[Record], known: RouteState) -> None:
    """The target is ready, and is the one that was copied to.

    Raises PermanentError if it is gone or another of its name (R137); a place that is gone is then not made.
    """
    if isinstance(target, Identified):
        _refuse_other_target(known, target.identity())
    _refuse_other_target(known, target.prepare())


def _refuse_other_target(known: RouteState, identity: str | None) -> None:
    if identity is None:
        raise _made_anew("the target was deleted")
    if identity != known.target_identity:
        raise _made_anew("the target was deleted and recreated")


def _made_anew(what: str) -> PermanentError:
    text = f"{what} since the run began, so its checkpoints no longer apply; start over with backfill --restart"
    return PermanentError("E-MADE-ANEW", text)


def refuse_absent(target: Target[Record], known: RouteState | None) -> None:
    """Raise PermanentError if there is nothing at the target's place because nobody has made it, or it was deleted."""
    if not isinstance(target, Inspectable):
        return
    place = target.inspect_place()
    if place.exists is not False:
        return
    if known is not None:
        raise _made_anew("the target was deleted")
    raise PermanentError("E-NOT-COPIED", f"it was never copied, and there is no {place.name} yet; run backfill first")


def confirm_target(target: Target[Record], known: RouteState) -> None:
    """The target is the one that was copied to, with the settings for its readers; raises as `prepare_again`."""
    try:
        prepare_again(target, known)
    finally:
        if isinstance(target, Tunable):
            target.restore()
