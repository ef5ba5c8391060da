"""The module compiled from direct.cpp, where it was built and is to be used; what it does Python does too."""

from __future__ import annotations

import os
from importlib import import_module
from types import ModuleType

SWITCH = "OFFRAMP_COMPILED"
"""The environment variable that, as 0, leaves the module unused."""


def _imported() -> ModuleType | None:
    if os.environ.get(SWITCH) == "0":
        return None
    try:
        return import_module("mappers.native._direct")
    except ImportError:  # The package was installed without a C++ compiler.
        return None


MODULE = _imported()
"""The module, None without it."""
