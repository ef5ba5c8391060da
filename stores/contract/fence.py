"""The fence: what a target looks at right before it changes anything, so that an overtaken run changes nothing more."""

from __future__ import annotations

from typing import Protocol


class Fence(Protocol):
    """Leave to change a target, which a run has for as long as its lease on the route lasts (R48, R134)."""

    def ensure(self) -> None:
        """Return only while the run may change the target; raises LeaseLost E-LEASE-LOST otherwise.

        It reads clocks and asks nobody. Call it right before each request, and after each wait.
        """


class _NoFence:
    """A fence that always lets pass."""

    def ensure(self) -> None:
        return


NO_FENCE: Fence = _NoFence()
"""For requests that change nothing, and for a target that no run has a lease on."""


class TargetFence:
    """The fence of one target, which the target gives to all its parts: it lets pass until it is set."""

    def __init__(self) -> None:
        """Let everything pass."""
        self._fence = NO_FENCE

    def set(self, fence: Fence) -> None:
        """Do as this fence does from now on."""
        self._fence = fence

    def ensure(self) -> None:
        """Return only while the run may change the target; raises LeaseLost otherwise."""
        self._fence.ensure()
