"""How far each route of a plan has come, from its state alone: no store is asked."""

from __future__ import annotations

from dataclasses import asdict
from itertools import islice
from typing import Any

from flows.connect.preflight import total_tally
from flows.connect.staging import awaits_load
from flows.connect.stores import open_state
from flows.plan.model import Plan
from flows.replication.positions import sync_status
from stores.state.rejects import OPEN, StoredReject

_SHOWN_REJECTS = 5


def status(plan: Plan) -> list[dict[str, Any]]:
    """Return how far each route has come, from the state alone."""
    rows: list[dict[str, Any]] = []
    with open_state(plan) as state:
        holders = state.leases.holders()
        for name, route in plan.routes.items():
            known = state.partitions.route(name)
            parts = state.partitions.of_route(name)
            counted = total_tally(state, route)
            done = sum(part.done for part in parts)
            stage = "not begun" if known is None else "copying" if done < len(parts) else "copied"
            if stage == "copied" and awaits_load(state, route):
                stage = "loading"
            rejected = counted.rejected
            kept = state.rejects.count(name)
            step = state.steps.of_route(name) if known is None else ""
            if step:
                stage = "preparing"
            sync_state = state.sync_positions.get(name)
            if sync_state is not None and sync_state.synced:
                stage = "synced"
            if sync_state is not None and sync_state.halted:
                stage = "halted"
            synced = sync_status(state, name)
            rewritten = synced is not None or state.repairs.recopied(name)
            if rewritten:  # What copying had rejected may have been corrected since.
                rejected = kept.open + kept.accepted
            rows.append(
                {
                    "route": name,
                    "stage": stage,
                    "step": step,
                    "partitions": f"{done}/{len(parts)}",
                    "read": counted.read,
                    "dropped": counted.dropped,
                    "rejected": rejected,
                    "records": counted.records,
                    "figures": "past" if rewritten else "none" if known is None else "copy",
                    "losses": dict(counted.losses),
                    "lag_s": synced.age_s if synced else None,
                    "synced_to": synced.position if synced else None,
                    "sync": asdict(synced) if synced else None,
                    "halted": sync_state.halted if sync_state else "",
                    "accepted": kept.accepted,
                    "stopped": state.rejects.halt_reason(name),
                    "verdict": (known.outcome or {}).get("verdict") if known else None,
                    "at_work": holders[name].name if name in holders else "",
                    "lease_ends_in_s": round(holders[name].ends_in_s, 1) if name in holders else None,
                    "rejects": [_row(reject) for reject in islice(state.rejects.of_route(name, OPEN), _SHOWN_REJECTS)],
                }
            )
    return rows


def _row(reject: StoredReject) -> dict[str, str]:
    return {name: getattr(reject, name) for name in ("id", "stage", "code", "field", "reason")}
