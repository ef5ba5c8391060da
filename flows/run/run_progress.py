"""How far a run has come, as figures: the step that its routes take, or the documents of its stage."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from flows.quantities import counted, named, number, seconds
from flows.terminal import echo

_RATE_OVER_S = 30.0
"""The time over which documents are counted for a rate: the rate of now, not of the whole run."""
_SAMPLE_EVERY_S = 0.2


@dataclass(frozen=True, slots=True)
class Step:
    """A step that each route takes, such as its check."""

    name: str
    done: int
    routes: int
    at_work: Sequence[str]
    """The routes that take it now, the first to begin first."""

    def line(self) -> str:
        """Return the step as a line."""
        if self.routes == 1:
            return f"{self.name}: {', '.join(self.at_work) or counted(self.done, 'route')}"
        at_work = f"; at work: {named(self.at_work)}" if self.at_work else ""
        return f"{self.name}: {number(self.done)} of {counted(self.routes, 'route')}{at_work}"


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
    def is_over(self) -> bool:
        """Whether every job has ended, done or not: what was expected counts no more."""
        return 0 < self.jobs <= self.ended

    @property
    def at_end(self) -> bool:
        """Whether all of it is done."""
        return self.complete and self.is_over

    @property
    def total(self) -> int:
        """The documents that there are, as far as is known; a filter may have left out some of those expected."""
        return self.done if self.is_over else max(self.expected, self.done)


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage of the run: copy, load or verify."""

    name: str
    done: int
    total: int
    rate: float
    """Documents a second lately."""
    elapsed_s: float
    routes: int
    routes_at_end: int
    routes_cut_short: int
    """Routes that failed or were stopped before their end."""
    at_work: Sequence[RouteStage]

    @property
    def at_end(self) -> bool:
        """Whether every route is at its end."""
        return self.routes > 0 and self.routes_at_end == self.routes

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
    def amount(self) -> str:
        """How many documents are done, of about how many."""
        return number(self.done) if self.done >= self.total else f"{number(self.done)} of ~{number(self.total)}"

    @property
    def time(self) -> str:
        """How long it took, or how long the rest takes; "" where that is unknown."""
        if self.at_end:
            return f"in {seconds(self.elapsed_s)}"
        return "" if self.left_s is None else f"{seconds(self.left_s)} left"

    @property
    def speed(self) -> str:
        """The documents a second: lately, or over all once it is at its end."""
        return f"{number(round(self.done / max(self.elapsed_s, 1e-9) if self.at_end else self.rate))}/s"

    @property
    def routes_text(self) -> str:
        """How many routes are done and to come; "" for a single route."""
        if self.routes == 1:
            return ""
        to_come = self.routes - self.routes_at_end - self.routes_cut_short - len(self.at_work)
        words = [f"{number(self.routes_at_end)} of {counted(self.routes, 'route')} done"]
        words += [f"{number(self.routes_cut_short)} stopped or failed"] if self.routes_cut_short else []
        words += [f"{number(to_come)} to come"] if to_come > 0 else []
        return ", ".join(words)

    def line(self) -> str:
        """Return the stage as a line."""
        noun = "record" if self.name == "load" else "document"
        noun += "" if max(self.done, self.total) == 1 else "s"
        figures = [f"{self.amount} {noun}", self.speed, *([self.time] if self.time else [])]
        at_work = f"at work: {named([each.route for each in self.at_work])}" if self.at_work else ""
        words = "; ".join(filter(None, (", ".join(figures), self.routes_text, at_work)))
        return f"{self.name} {self.percent} %: {words}"


@dataclass(slots=True)
class _Stage:
    """A stage with its sums over all routes, which each event changes by what it changes of its route."""

    began: float
    routes: dict[str, RouteStage] = field(default_factory=dict)
    at_work: dict[str, RouteStage] = field(default_factory=dict)
    done: int = 0
    total: int = 0
    at_end: int = 0
    cut_short: int = 0
    samples: deque[tuple[float, int]] = field(default_factory=deque)
    ended: float | None = None

    @contextmanager
    def changing(self, route: str) -> Iterator[RouteStage]:
        """Give the route's stage, which the body changes."""
        each = self.routes.setdefault(route, RouteStage(route))
        self._add(each, -1)
        yield each
        self._add(each, 1)
        if each.at_work:
            self.at_work.setdefault(route, each)
        else:
            self.at_work.pop(route, None)

    def _add(self, each: RouteStage, sign: int) -> None:
        self.done += sign * each.done
        self.total += sign * each.total
        self.at_end += sign * each.at_end
        self.cut_short += sign * (each.is_over and not each.complete)


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

    def stepped(self, step: str, done: int, routes: int, at_work: Sequence[str]) -> None:
        """Take over how far the step has come."""
        with self._lock:
            self._step = Step(step, done, routes, at_work)
            self._current = None
        self.changed()

    def planned(self, route: str, stage: str, jobs: int, documents: int) -> None:
        """Expect so many more jobs and documents."""
        with self._changing(route, stage) as each:
            each.jobs += jobs
            each.expected += documents

    def began(self, route: str, stage: str, documents: int) -> None:
        """Count a job that is under way; what nobody planned is expected from its documents."""
        with self._changing(route, stage) as each:
            if not each.jobs:
                each.expected = documents
            each.begun += 1
            each.jobs = max(each.jobs, each.begun)
        self.changed()

    def advanced(self, route: str, stage: str, documents: int) -> None:
        """Count documents that are done."""
        with self._changing(route, stage) as each:
            each.done += documents

    def ended(self, route: str, stage: str, complete: bool) -> None:
        """Count a job that has ended."""
        with self._changing(route, stage) as each:
            each.ended += 1
            each.complete = each.complete and complete
        self.changed()

    def said(self, text: str) -> None:
        """Print the text."""
        echo(text, err=True)

    def changed(self) -> None:
        """Called after a step, and where a job began or ended; for who shows it."""

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

    @contextmanager
    def _changing(self, route: str, stage: str) -> Iterator[RouteStage]:
        with self._lock:
            self._current = stage
            if stage not in self._stages:
                self._stages[stage] = _Stage(self._clock())
            with self._stages[stage].changing(route) as each:
                yield each

    def _figures(self, name: str, stage: _Stage) -> Stage:
        now = self._clock()
        if not stage.routes or stage.at_end < len(stage.routes):
            stage.ended = None
        elif stage.ended is None:
            stage.ended = now
        if stage.ended is None and self._current == name:
            if not stage.samples or now - stage.samples[-1][0] >= _SAMPLE_EVERY_S:
                stage.samples.append((now, stage.done))
            while len(stage.samples) > 2 and now - stage.samples[1][0] >= _RATE_OVER_S:
                stage.samples.popleft()
        first_at, first = stage.samples[0] if stage.samples else (stage.began, 0)
        if now - first_at < 1.0:
            first_at, first = stage.began, 0
        return Stage(
            name=name,
            done=stage.done,
            total=stage.total,
            rate=(stage.done - first) / max(now - first_at, 1e-9),
            elapsed_s=(stage.ended if stage.ended is not None else now) - stage.began,
            routes=len(stage.routes),
            routes_at_end=stage.at_end,
            routes_cut_short=stage.cut_short,
            at_work=list(stage.at_work.values()),
        )
