"""What happens to a command while it works."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from chaos.commands import POLL_S, Running
from chaos.proxy import Proxy
from chaos.stand import Stand

KINDS = (
    *("none", "none", "SIGKILL", "SIGKILL", "SIGKILL", "SIGTERM", "SIGINT", "SIGSTOP"),
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

    def __str__(self) -> str:
        """Return it for the log."""
        when = f"at request {self.at_request}" if self.at_request is not None else f"after {self.after_s:.1f} s"
        return f"{self.kind} ({self.proxy}, {when}, {self.lasts_s:.1f} s)"


NONE = Disturbance("none", "", None, 0, 0)


def drawn(chance: random.Random, targets: Sequence[str], kinds: Sequence[str] = KINDS) -> Disturbance:
    """Return a random disturbance."""
    return Disturbance(
        chance.choice(kinds),
        chance.choice(["mongodb", *targets, *targets]),
        int(10 ** chance.uniform(0, 2.2)) if chance.random() < 0.6 else None,
        chance.uniform(0.3, 4),
        chance.uniform(0.3, 5),
    )


def watch(
    running: Running, disturbance: Disturbance, stand: Stand, proxies: Mapping[str, Proxy], limit_s: float
) -> bool:
    """Wait for the command's end while it is disturbed; return whether it ended in time."""
    due = threading.Event()
    if disturbance.kind != "none" and disturbance.at_request is not None:
        stops_at_once = disturbance.kind.startswith("SIG")
        number = getattr(signal, disturbance.kind) if stops_at_once else None

        def aimed() -> None:
            if number is not None:
                running.send(number)
            due.set()

        proxies[disturbance.proxy].at_request(disturbance.at_request, aimed)
    begun, heal, heal_at = False, _nothing, 0.0
    end = time.monotonic() + limit_s
    try:
        while not running.ended(POLL_S):
            now = time.monotonic()
            if now > end:
                return False
            timed = disturbance.at_request is None and now - running.began >= disturbance.after_s
            if not begun and disturbance.kind != "none" and (due.is_set() or timed):
                begun = True
                heal = _begin(running, disturbance, stand, proxies)
                heal_at = now + disturbance.lasts_s
            elif begun and heal is not _nothing and now >= heal_at:
                heal()
                heal = _nothing
        return True
    finally:
        heal()
        for proxy in proxies.values():
            proxy.forget_aims()


def _nothing() -> None:
    pass


def _begin(
    running: Running, disturbance: Disturbance, stand: Stand, proxies: Mapping[str, Proxy]
) -> Callable[[], None]:
    """Begin the disturbance; return what ends it."""
    proxy = proxies[disturbance.proxy]
    faults = proxy.faults
    proxy.note(str(disturbance))
    match disturbance.kind:
        case "SIGKILL" | "SIGTERM" | "SIGINT" | "SIGSTOP":
            number = getattr(signal, disturbance.kind)
            if disturbance.at_request is None:
                running.send(number)
            return (lambda: running.send(signal.SIGCONT)) if number == signal.SIGSTOP else _nothing
        case "latency":
            faults.latency_s = disturbance.lasts_s / 20

            def swift() -> None:
                faults.latency_s = 0

            return swift
        case "reset":
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
            stand.pause(disturbance.proxy, min(disturbance.lasts_s, 2))
    return _nothing
