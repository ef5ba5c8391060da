"""How far a run has come, as figures: the step that its routes take, or the documents of its stage."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from flows.quantities import counted, named, number, seconds

_RATE_OVER_S = 30.0
"""The time over which documents are counted for a rate: the rate of now, not of the whole run."""


@dataclass(frozen=True, slots=True)
class Step:
    """A step that each route takes, such as its check."""

    name: str
    done: int
    routes: int
    route: str
    """The last that began it; "" before there is one."""

    def line(self) -> str:
        """Return the step as a line."""
        if not self.done and self.route:
            return f"{self.name}: route 1 of {number(self.routes)}, {self.route}"
        at = f", at {self.route}" if self.route and self.done < self.routes else ""
        return f"{self.name}: {number(self.done)} of {counted(self.routes, 'route')}{at}"


@dataclass(slots=True)
class RouteStage:
    """A stage of one route: its jobs, and the documents that are done of about so many."""

    route: str
    expected: int = 0
    jobs: int = 0
    begun: int = 0
    ended: int = 0
    complete: bool = True
    """Whether each job that ended was done to its end."""
    done: int = 0

    @property
    def at_work(self) -> bool:
        """Whether a job is under way."""
        return self.begun > self.ended

    @property
    def at_end(self) -> bool:
        """Whether all of it is done: then what was expected counts no more, which no filter lessened."""
        return self.complete and 0 < self.jobs <= self.ended

    @property
    def total(self) -> int:
        """The documents that there are, as far as is known."""
        return self.done if self.at_end else max(self.expected, self.done)


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage of the run: copy, load or verify."""

    name: str
    done: int
    total: int
    at_end: bool
    """Whether every route is at its end."""
    rate: float
    """Documents a second lately."""
    elapsed_s: float
    routes: int
    routes_at_end: int
    at_work: Sequence[RouteStage]

    @property
    def percent(self) -> int:
        """How much is done, in whole percent; 100 only at the end."""
        if self.at_end:
            return 100
        return min(99, 100 * self.done // self.total) if self.total else 0

    @property
    def left_s(self) -> float | None:
        """How long the rest takes at this rate; None where that is unknown."""
        return (self.total - self.done) / self.rate if self.rate > 0 and self.total > self.done else None

    @property
    def documents(self) -> str:
        """How many documents are done, of about how many."""
        if self.at_end or self.done >= self.total:
            return number(self.done)
        return f"{number(self.done)} of ~{number(self.total)}"

    def line(self) -> str:
        """Return the stage as a line."""
        noun = "records" if self.name == "load" else "documents"
        figures = f"{self.name} {self.percent} %: {self.documents} {noun}"
        routes = f"{number(self.routes_at_end)} of {counted(self.routes, 'route')} done"
        if self.at_end:
            overall = self.done / max(self.elapsed_s, 1e-9)
            return f"{figures} in {seconds(self.elapsed_s)}, {number(round(overall))}/s; {routes}"
        left = f", {seconds(self.left_s)} left" if self.left_s is not None else ""
        at_work = f"; at work: {named([each.route for each in self.at_work])}" if self.at_work else ""
        return f"{figures}, {number(round(self.rate))}/s{left}; {routes}{at_work}"


@dataclass(slots=True)
class _Stage:
    began: float
    routes: dict[str, RouteStage] = field(default_factory=dict)
    samples: deque[tuple[float, int]] = field(default_factory=deque)
    ended: float | None = None


class RunProgress:
    """A `RunObserver` that knows how far a run has come; called by several threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Know nothing yet; the clock is in seconds."""
        self._clock = clock
        self._lock = threading.Lock()
        self._step: Step | None = None
        self._stages: dict[str, _Stage] = {}
        self._current: str | None = None
        """The stage at hand, None while a step is."""

    def stepped(self, step: str, done: int, routes: int, route: str) -> None:
        """Take over how far the step has come."""
        with self._lock:
            known = self._step.route if self._step is not None and self._step.name == step else ""
            self._step = Step(step, done, routes, route or known)
            self._current = None
        self.changed()

    def planned(self, route: str, stage: str, jobs: int, documents: int) -> None:
        """Expect so many more jobs and documents."""
        with self._lock:
            each = self._at(route, stage)
            each.jobs += jobs
            each.expected += documents
        self.changed()

    def began(self, route: str, stage: str, documents: int) -> None:
        """Count a job that is under way; what nobody planned is expected from its documents."""
        with self._lock:
            each = self._at(route, stage)
            if not each.jobs:
                each.expected = documents
            each.begun += 1
            each.jobs = max(each.jobs, each.begun)
        self.changed()

    def advanced(self, route: str, stage: str, documents: int) -> None:
        """Count documents that are done."""
        with self._lock:
            self._at(route, stage).done += documents

    def ended(self, route: str, stage: str, complete: bool) -> None:
        """Count a job that has ended."""
        with self._lock:
            each = self._at(route, stage)
            each.ended += 1
            each.complete = each.complete and complete
        self.changed()

    def changed(self) -> None:
        """Called after each change but the count of documents; for who shows it."""

    @property
    def step(self) -> Step | None:
        """The step at hand, None while a stage is."""
        return self._step if self._current is None else None

    def stages(self) -> list[Stage]:
        """Return the stages so far, the one at hand last."""
        with self._lock:
            return [self._figures(name, stage) for name, stage in self._stages.items()]

    @property
    def current(self) -> Stage | None:
        """The stage at hand, None while a step is."""
        with self._lock:
            return None if self._current is None else self._figures(self._current, self._stages[self._current])

    def _at(self, route: str, stage: str) -> RouteStage:
        self._current = stage
        if stage not in self._stages:
            self._stages[stage] = _Stage(self._clock())
        return self._stages[stage].routes.setdefault(route, RouteStage(route))

    def _figures(self, name: str, stage: _Stage) -> Stage:
        routes = list(stage.routes.values())
        done = sum(each.done for each in routes)
        at_end = bool(routes) and all(each.at_end for each in routes)
        now = self._clock()
        if not at_end:
            stage.ended = None
        elif stage.ended is None:
            stage.ended = now
        elsewhere = stage.ended is not None or self._current != name
        if not elsewhere:
            stage.samples.append((now, done))
            while len(stage.samples) > 2 and now - stage.samples[1][0] >= _RATE_OVER_S:
                stage.samples.popleft()
        first_at, first = stage.samples[0] if stage.samples else (stage.began, 0)
        if now - first_at < 1.0:
            first_at, first = stage.began, 0
        return Stage(
            name=name,
            done=done,
            total=sum(each.total for each in routes),
            at_end=at_end,
            rate=(done - first) / max(now - first_at, 1e-9),
            elapsed_s=(stage.ended if stage.ended is not None else now) - stage.began,
            routes=len(routes),
            routes_at_end=sum(each.at_end for each in routes),
            at_work=[each for each in routes if each.at_work],
        )
