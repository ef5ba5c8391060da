"""The retry of rejects: their documents are read again, mapped and written, and the rejects cleared if all is well."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from flows.connect.lease_renewal import hold_leases
from flows.connect.progress import SILENT, RunObserver
from flows.connect.recopy import BATCH, recopy
from flows.connect.session import Session, open_session
from flows.connect.stores import OpenRoute, open_source, open_state
from flows.copying.projection import identify
from flows.plan.model import Plan, Route
from flows.repair.recopy import open_copied
from stores.contract.stop import NEVER, Stop, raise_if_stopped
from stores.errors import OfframpError, PlanError
from stores.mongodb.database import MongoDB
from stores.state.rejects import RejectFilter, StoredReject
from stores.state.repairs import Action
from stores.state.state import State
from stores.throttling.batches import cut

_STOPPED = "stopped by a signal; the same command resumes"


@dataclass(frozen=True)
class Retried:
    """What became of a route's chosen rejects."""

    route: str
    chosen: int
    """Documents that were to be copied again."""
    cleared: int = 0
    """Of those, the ones that were copied without a reject."""
    gone: int = 0
    """Those that the source has no more, or that the filter excludes now; their rejects are cleared."""
    rejected: int = 0
    """Those that were rejected again."""
    nameless: int = 0
    """Those that the source cannot be asked for, as they have no `_id`."""
    failure: str = ""
    """Why the route did not finish, "" if it did."""

    def as_json(self) -> dict[str, Any]:
        """Return the outcome as `offramp rejects retry --json` prints it, where `cleared` is called `mended`."""
        return {"mended" if name == "cleared" else name: value for name, value in asdict(self).items()}


def chosen_rejects(state: State, routes: Sequence[Route], chosen: RejectFilter) -> dict[str, list[StoredReject]]:
    """Return the chosen rejects of each route; raises PlanError if there is none at all."""
    found = {route.name: list(state.rejects.of_route(route.name, chosen)) for route in routes}
    if not any(found.values()):
        text = "no reject matches these options; `offramp rejects list PLAN` shows the open ones, --accepted the others"
        raise PlanError("E-REJECTS-NONE", text)
    return found


def retry(
    plan: Plan,
    routes: Sequence[Route],
    chosen: RejectFilter,
    stop: Stop = NEVER,
    observer: RunObserver = SILENT,
) -> list[Retried]:
    """The chosen rejects of each route are cleared, or on record with what is wrong with their documents now.

    Raises PlanError, having written nothing, if there are none or a route cannot be served, TransientError if another
    run is at work on one of them. What stops a route later is its `failure`.
    """
    with open_state(plan) as state:
        rejects = chosen_rejects(state, routes, chosen)
    rejecting = [route for route in routes if rejects[route.name]]
    with open_session(plan, rejecting, observer=observer, stop=stop) as session, open_source(plan) as source:
        return [_retry_route(session, route, source, chosen, stop) for route in session.routes]


def _retry_route(session: Session, route: Route, database: MongoDB, chosen: RejectFilter, stop: Stop) -> Retried:
    rejects = list(session.state.rejects.of_route(route.name, chosen))
    ids = list(dict.fromkeys(reject.position for reject in rejects if reject.position))
    named = {reject.id for reject in rejects if reject.position}
    outcome = Retried(route.name, len(named), nameless=len({reject.id for reject in rejects} - named))
    try:
        raise_if_stopped(stop, _STOPPED)
        with open_copied(session, route, database) as opened:
            opened.state.repairs.begin(opened.lease)
            for batch in cut(ids, BATCH):
                raise_if_stopped(stop, _STOPPED)
                outcome = _again(opened, batch, outcome)
    except OfframpError as error:
        return replace(outcome, failure=str(error))
    return outcome


def accept(
    plan: Plan, routes: Sequence[Route], chosen: RejectFilter, by: str, why: str, *, undo: bool = False
) -> dict[str, int]:
    """The chosen open rejects of each route are accepted, or with `undo` the accepted open again; returns how many."""
    with open_state(plan) as state:
        asked = replace(chosen, accepted=undo)
        kept_of = chosen_rejects(state, routes, asked)
        names = [route for route in routes if kept_of[route.name]]
        with hold_leases(state, plan, names) as leases:
            rejects = state.rejects
            return {
                name: rejects.reopen(lease, chosen) if undo else rejects.accept(lease, chosen, by, why)
                for name, lease in leases.items()
            }


def left_open(plan: Plan, routes: Sequence[Route]) -> int:
    """Return how many documents of the routes are rejected and not accepted."""
    with open_state(plan) as state:
        return sum(state.rejects.count(route.name).open for route in routes)


def _again(opened: OpenRoute, ids: Sequence[bytes], sofar: Retried) -> Retried:
    done = recopy(opened, ids)
    rejected = {reject.id for reject in done.rejects}
    names = [identify(at) for at in ids]
    gone = {identify(at) for at in done.absent}
    became = ["rejected" if name in rejected else "gone" if name in gone else "copied" for name in names]
    actions = [Action("retry", done_, id=name) for name, done_ in zip(names, became, strict=True)]
    opened.state.repairs.record(opened.lease, actions)
    return replace(
        sofar,
        cleared=sofar.cleared + became.count("copied"),
        gone=sofar.gone + became.count("gone"),
        rejected=sofar.rejected + became.count("rejected"),
    )
