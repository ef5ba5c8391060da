"""When a lease ends, as a process knows it without asking the state: never later than the state says."""

from __future__ import annotations

import time
from dataclasses import dataclass

from stores.boot_clock import boot_s


@dataclass(frozen=True, slots=True)
class Moment:
    """A moment by two clocks, in seconds.

    The clock since boot cannot be set, and runs while the machine sleeps. It stands still while a hypervisor has paused
    the machine, which only the wall clock shows.
    """

    boot_s: float
    wall_s: float

    @classmethod
    def now(cls) -> Moment:
        """Return the moment of now."""
        return cls(boot_s(), time.time())

    def after(self, seconds: float) -> Moment:
        """Return the moment so many seconds later."""
        return Moment(self.boot_s + seconds, self.wall_s + seconds)


_PAST = Moment(float("-inf"), float("-inf"))


class LeaseTerm:
    """The end of one lease in the memory of one process; threads share it."""

    def __init__(self) -> None:
        """Know of no time left."""
        self._end = _PAST
        self._given_up = False
        self.renewed_here = False
        """Whether this process renews the lease, so that nothing is to be learned from the state."""

    def lasts_until(self, end: Moment) -> None:
        """The lease ends at this moment: reckoned from one before the state was asked or changed."""
        self._end = end

    def give_up(self) -> None:
        """No time is left, whatever a renewal that is under way comes to."""
        self._given_up = True

    def left_s(self) -> float:
        """Return the seconds left, by the clock that leaves fewer; none are left at 0 or below."""
        if self._given_up:
            return float("-inf")
        end = self._end
        return min(end.boot_s - boot_s(), end.wall_s - time.time())
