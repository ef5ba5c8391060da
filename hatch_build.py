"""Builds the compiled mapper where there is a C++ compiler; without one the package maps in Python alone."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from setuptools import Distribution, Extension

_SOURCE = "mappers/native/direct.cpp"
_INCLUDED = ("mappers/native/text.hpp", "mappers/native/walk.hpp")


def build(root: Path) -> Path | None:
    """Return the module built, beside its source; None, told on standard error, where it cannot be."""
    extension = Extension(
        "mappers.native._direct",
        [str(root / _SOURCE)],
        depends=[str(root / path) for path in _INCLUDED],
        language="c++",
        extra_compile_args=["-std=c++17", "-O2", "-fvisibility=hidden"] if sys.platform != "win32" else ["/std:c++17"],
    )
    command = Distribution({"name": "offramp", "ext_modules": [extension]}).get_command_obj("build_ext")
    with tempfile.TemporaryDirectory() as scratch:
        command.build_temp, command.build_lib = scratch, str(root)
        try:
            command.ensure_finalized()
            command.run()
        except Exception as error:  # noqa: BLE001 - however a compiler fails, it is no reason not to install
            print(f"the compiled mapper is left out, so mapping will be slower: {error}", file=sys.stderr)
            return None
    return root / command.get_ext_filename(extension.name)


class Build(BuildHookInterface[Any]):
    """The hook that hatchling calls."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """The wheel has the module, and says for which Python it is."""
        if self.target_name != "wheel" or (built := build(Path(self.root))) is None:
            return
        build_data["pure_python"] = False
        build_data["infer_tag"] = True
        if version == "standard":  # An editable install finds it beside its source.
            build_data["force_include"][str(built)] = f"mappers/native/{built.name}"
