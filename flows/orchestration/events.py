"""The events that a run emits in Prefect."""

from __future__ import annotations

from prefect.events import emit_event

from flows.orchestration.summary import figures, findings
from flows.reporting.columns import columns
from flows.reporting.model import Report, RouteReport


def emit_verdict(report: Report, route: RouteReport, word: str) -> None:
    """Emit ``offramp.route.<word>`` about the route; Prefect adds the flow run and its deployment."""
    shown = figures(route)
    emit_event(
        f"offramp.route.{word}",
        resource={
            "prefect.resource.id": resource_id(report.plan, route.route),
            "prefect.resource.name": f"{report.plan}: {route.route}",
            "offramp.plan": report.plan,
            "offramp.route": route.route,
            "offramp.target": route.target,
            "offramp.verified": route.verified,
        },
        payload={
            "reasons": findings(route),
            **{column.name: column.value(shown) for column in columns("event")},
        },
    )


def resource_id(plan: str, route: str) -> str:
    """Return the resource id that a route's events have; an automation chooses them by it."""
    return f"offramp.route.{plan}.{route}"
