"""What happens to a command while it works."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from chaos.commands import POLL_S, Running
from chaos.stand import Place

KINDS = (
    *("none", "none", "SIGKILL", "SIGKILL", "SIGKILL", "SIGTERM", "SIGINT", "SIGSTOP"),
    *("group SIGKILL", "group SIGINT", "group SIGSTOP", "restart"),
    *("latency", "reset", "refuse", "swallow", "half-open", "cut", "throttle", "pause"),
)


@dataclass(frozen=True)
class Disturbance:
    """One disturbance: of which kind, where, and when."""

    kind: str
    proxy: str
    at_request: int | None
    after_s: float
    lasts_s: float

    @property
    def signal(self) -> int | None:
        """The signal that it is, None for a fault of a server or of the network."""
        name = self.kind.removeprefix("group ")
        return int(getattr(signal, name)) if name.startswith("SIG") else None

    @property
    def group(self) -> bool:
        """Whether the signal goes to all processes of the command."""
        return self.kind.startswith("group ")

    def __str__(self) -> str:
        """Return it for the log."""
        when = f"at request {self.at_request}" if self.at_request is not None else f"after {self.after_s:.1f} s"
        return f"{self.kind} ({self.proxy}, {when}, {self.lasts_s:.1f} s)"


NONE = Disturbance("none", "", None, 0, 0)


def drawn(chance: random.Random, proxies: Sequence[str], kinds: Sequence[str] = KINDS) -> Disturbance:
    """Return a random disturbance."""
    return Disturbance(
        chance.choice(kinds),
        chance.choice(["mongodb", *proxies, *proxies]),
        int(10 ** chance.uniform(0, 1.8)) if chance.random() < 0.6 else None,
        chance.uniform(0.3, 4),
        chance.uniform(0.3, 5),
    )


@dataclass(frozen=True)
class Watched:
    """How a command ended."""

    in_time: bool
    disturbed: bool
    """Whether the disturbance came before its end."""


def watch(running: Running, disturbance: Disturbance, place: Place, limit_s: float) -> Watched:
    """Wait for the command's end while it is disturbed."""
    due, proxies = threading.Event(), place.proxies
    if disturbance.kind != "none" and disturbance.at_request is not None:

        def aimed() -> None:
            if disturbance.signal is not None:
                running.send(disturbance.signal, group=disturbance.group)
            due.set()

        proxies[disturbance.proxy].at_request(disturbance.at_request, aimed)
    begun, heal, heal_at = False, _nothing, 0.0
    end = time.monotonic() + limit_s
    try:
        while not running.ended(POLL_S):
            now = time.monotonic()
            if now > end:
                return Watched(in_time=False, disturbed=begun)
            timed = disturbance.at_request is None and now - running.began >= disturbance.after_s
            if not begun and disturbance.kind != "none" and (due.is_set() or timed):
                begun = True
                heal = _begin(running, disturbance, place)
                heal_at = now + disturbance.lasts_s
            elif begun and heal is not _nothing and now >= heal_at:
                heal()
                heal = _nothing
        return Watched(in_time=True, disturbed=begun or due.is_set())
    finally:
        heal()
        for proxy in proxies.values():
            proxy.forget_aims()


def _nothing() -> None:
    pass


def _begin(running: Running, disturbance: Disturbance, place: Place) -> Callable[[], None]:
    """Begin the disturbance; return what ends it."""
    proxy = place.proxies[disturbance.proxy]
    faults = proxy.faults
    proxy.note(str(disturbance))
    number, group = disturbance.signal, disturbance.group
    if number is not None:
        if disturbance.at_request is None:
            running.send(number, group=group)
        return (lambda: running.send(signal.SIGCONT, group=group)) if number == signal.SIGSTOP else _nothing
    match disturbance.kind:
        case "restart" if place.restart is not None:
            place.restart()
        case "latency":
            faults.latency_s = disturbance.lasts_s / 20

            def swift() -> None:
                faults.latency_s = 0

            return swift
        case "reset" | "restart":
            proxy.reset()
            return proxy.reset
        case "refuse":
            proxy.refuse()
            return proxy.listen
        case "swallow" | "half-open":
            faults.swallow = True

            def passes() -> None:
                faults.swallow = False
                if disturbance.kind == "swallow":
                    proxy.reset()

            return passes
        case "cut":
            faults.cut_after = 1 + int(disturbance.lasts_s * 1000) % 4000
            proxy.reset()

            def whole() -> None:
                faults.cut_after = None

            return whole
        case "throttle":
            faults.throttle = 1 + int(disturbance.lasts_s * 10)
            return _nothing
        case "pause":
            place.pause(disturbance.proxy, min(disturbance.lasts_s, 2))
    return _nothing
