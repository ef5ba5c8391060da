"""The artifacts that Prefect shows of a run while it lasts and at its end, and the events of its routes."""

from __future__ import annotations

import contextvars
import logging
import re
import threading
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import cast
from uuid import UUID

from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)

from flows.connect.stores import open_source, open_state
from flows.orchestration.events import emit_verdict
from flows.orchestration.summary import as_page, figures, findings, headline
from flows.plan.model import Plan, Route
from flows.quantities import counted, number
from flows.replication.sync import RouteProgress, SyncObserver
from flows.reporting.columns import Place, cells
from flows.reporting.markdown_text import plain, prose
from flows.reporting.model import Report
from flows.run.console import sync_figures
from stores.errors import OfframpError
from stores.state.state import State

LOOK_EVERY_S = 5.0
_MOST_LETTERS = 500_000
"""Prefect drops the event of an artifact beyond 5 MB."""

_log = logging.getLogger(__name__)

Far = tuple[float, str]
"""Progress: the percentage, and a text."""


def artifact_key(*names: str) -> str:
    """Return an artifact's key: lowercase letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", " ".join(["offramp", *names]).lower()).strip("-")


def show(report: Report, files: Sequence[str]) -> None:
    """Create the report's artifacts, a table and a page that names its files; emit an event of each route's verdict.

    They hold what `summary` makes of the report: nothing of a document is there.
    """
    _show_table(report, artifact_key(report.plan), "markdown", headline(report))
    create_markdown_artifact(
        key=artifact_key(report.plan, "report"),
        markdown=as_page(report, files)[:_MOST_LETTERS],
        description=prose(headline(report)),
    )
    for route in report.routes:
        emit_verdict(report, route, route.verdict)


def show_sync(report: Report, lag_s: float, message: str, skipped: Container[str]) -> None:
    """Create a table of what a sync did, and emit whether each route is current or lags more than `lag_s`.

    A route whose verdict is not clean has an event of its verdict too, and is never called current; not so a `skipped`
    one, which another run was at work on.
    """
    _show_table(report, artifact_key(report.plan, "sync"), "sync", message, skipped)
    for route in report.routes:
        if route.verdict != "clean" and route.route not in skipped:
            emit_verdict(report, route, route.verdict)
        if route.sync is None or route.sync.age_s > lag_s:
            emit_verdict(report, route, "lagging")
        elif route.verdict == "clean":
            emit_verdict(report, route, "current")


def show_table(plan: str, name: str, rows: Sequence[Mapping[str, str]], message: str) -> None:
    """Create the table artifact ``offramp-PLAN-NAME``; its cells and the message hold nothing of a document."""
    table = [{heading: prose(cell) for heading, cell in row.items()} for row in rows]
    create_table_artifact(key=artifact_key(plan, name), table=table, description=prose(message))


def _show_table(report: Report, key: str, place: Place, message: str, skipped: Container[str] = ()) -> None:
    reasons = [
        f"- {prose(f'{route.route}: {finding}')}"
        for route in report.routes
        if route.route not in skipped
        for finding in findings(route)
    ]
    # Prefect shows each cell as a page of Markdown.
    table = [{name: prose(cell) for name, cell in cells(figures(route), place).items()} for route in report.routes]
    create_table_artifact(key=key, table=table, description="\n".join([prose(message), "", *reasons]))


@contextmanager
def copying_shown(plan: Plan, routes: Sequence[Route], *, look_every_s: float = LOOK_EVERY_S) -> Iterator[None]:
    """An artifact shows, while the body lasts, how much of the routes is copied by the plan's state."""
    expected: dict[str, int] = {}
    with open_state(plan) as state:

        def measure() -> Far:
            if not expected:
                with open_source(plan) as database:
                    expected.update({route.name: route.source(database).estimate() for route in routes})
            return _copied(state, routes, expected)

        with shown(artifact_key(plan.name, "progress"), measure, look_every_s):
            yield


def _copied(state: State, routes: Sequence[Route], expected: dict[str, int]) -> Far:
    done, all_of_it, words = 0, 0, []
    for route in routes:
        copied = state.partitions.progress(route.name)
        read = copied.read
        about = read if 0 < copied.partitions == copied.done else max(read, expected[route.name])
        done += read
        all_of_it += about
        words.append(plain(f"{route.name}: {number(read)} of about {counted(about, 'document')} copied"))
    return 100.0 * done / max(1, all_of_it), "\n".join(words)


@contextmanager
def verifying_shown(plan: Plan, routes: Sequence[Route], *, look_every_s: float = LOOK_EVERY_S) -> Iterator[None]:
    """An artifact shows, while the body lasts, how much of the routes a full pass has compared, by the plan's state.

    It is for workers of a cluster, which show nothing themselves. A route is there from the beginning of its pass on.
    """
    if plan.run.runner not in ("dask", "ray"):
        yield
        return
    compared: dict[str, int] = {}
    about: dict[str, int] = {}
    with open_state(plan) as state:

        def measure() -> Far | None:
            found = {route.name: state.verification.compared(route.name) for route in routes}
            ended = [name for name in compared if found[name] is None]
            compared.update({name: read for name, read in found.items() if read is not None})
            compared.update({name: about[name] for name in ended})
            if new := [route for route in routes if route.name in compared and route.name not in about]:
                with open_source(plan) as database:
                    about.update({route.name: route.source(database).estimate() for route in new})
            about.update({name: max(about[name], read) for name, read in compared.items()})
            return _compared(compared, about) if compared else None

        with shown(artifact_key(plan.name, "verify-progress"), measure, look_every_s):
            yield


def _compared(compared: Mapping[str, int], about: Mapping[str, int]) -> Far:
    words = [
        plain(f"{name}: {number(read)} of about {counted(about[name], 'document')} compared")
        for name, read in compared.items()
    ]
    return 100.0 * sum(compared.values()) / max(1, sum(about.values())), "\n".join(words)


@contextmanager
def catching_up_shown(plan: Plan) -> Iterator[SyncObserver]:
    """Yield an observer of a sync; an artifact shows the sync's progress while the body lasts."""
    latest: list[Sequence[RouteProgress]] = []
    first: list[float] = []

    def watching(progress: Sequence[RouteProgress]) -> None:
        if not first:
            first.append(max((route.lag_s for route in progress), default=0.0))
        latest[:] = [progress]

    def measure() -> Far:
        progress = latest[0] if latest else ()
        behind_s = max((route.lag_s for route in progress), default=0.0)
        words = [plain(sync_figures(row)) for row in progress]
        return 100.0 * (1 - behind_s / max(*first, behind_s, 1.0)) if latest else 0.0, "\n".join(words)

    with shown(artifact_key(plan.name, "sync-progress"), measure):
        yield watching


@contextmanager
def shown(key: str, measure: Callable[[], Far | None], look_every_s: float = LOOK_EVERY_S) -> Iterator[None]:
    """An artifact shows what `measure` returns, every `look_every_s` while the body lasts and at its end.

    A body that ends before the first look has no artifact, nor has one while None is returned. An error of the artifact
    is logged and ends nothing.
    """
    stop = threading.Event()
    # The artifact belongs to the run at hand, which a thread of its own would not know of.
    context = contextvars.copy_context()
    showing = threading.Thread(
        target=context.run, args=(_keep_showing, key, measure, look_every_s, stop), name="progress", daemon=True
    )
    showing.start()
    try:
        yield
    finally:
        stop.set()
        showing.join(LOOK_EVERY_S)


def _keep_showing(key: str, measure: Callable[[], Far | None], look_every_s: float, stop: threading.Event) -> None:
    artifact: UUID | None = None
    while True:
        ended = stop.wait(look_every_s)
        if ended and artifact is None:
            return
        try:
            far = measure()
            if far is not None and artifact is None:
                artifact = cast(UUID, create_progress_artifact(far[0], key=key, description=far[1]))
            elif far is not None and artifact is not None:
                update_progress_artifact(artifact, far[0], description=far[1])
        except OfframpError as error:
            _log.warning("no progress to show: %s", error)
        except Exception as error:  # noqa: BLE001 - a server that is away must not end a run that needs none
            _log.warning("the progress was not shown: %s", type(error).__name__)
        if ended:
            return


class Counted:
    """An observer that counts the documents of a route."""

    def __init__(self, route: str) -> None:
        """Begin with no documents."""
        self._route = route
        self._lock = threading.Lock()
        self._stage = ""
        self._done = 0
        self._ahead = 0

    def began(self, route: str, stage: str, documents: int) -> None:
        """Begin to count a stage of so many documents; the count of the stage before is dropped."""
        with self._lock:
            if stage != self._stage:
                self._stage, self._done = stage, 0
            self._ahead = documents

    def advanced(self, route: str, stage: str, documents: int) -> None:
        """Add so many documents that are done."""
        with self._lock:
            self._done += documents

    def ended(self, route: str, stage: str, complete: bool) -> None:
        """Note that the stage has no more documents ahead."""
        with self._lock:
            self._ahead = self._done

    def far(self) -> Far:
        """Return the route's progress."""
        with self._lock:
            about = max(self._ahead, self._done)
            return 100.0 * self._done / max(1, about), plain(
                f"{self._route}: {self._stage} {number(self._done)} of about {number(about)}"
            )
