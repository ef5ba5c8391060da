"""The module compiled from direct.cpp, if it was built and is switched on. Python code does the same without it."""

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
