"""How many examples a property test tries."""

from __future__ import annotations

from hypothesis import settings

_USUAL = 100


def examples(number: int) -> int:
    """Return the number for ``max_examples``, made smaller as the loaded profile makes the usual number smaller."""
    return max(1, number * settings().max_examples // _USUAL)
