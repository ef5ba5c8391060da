"""The user's own mapper: a function in a file that the plan names (`use: file.py:function`).

The file's text is read once and run from memory: what runs is what was digested, wherever the text came from.
"""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from importlib.abc import ExecutionLoader
from importlib.util import decode_source, module_from_spec, spec_from_loader
from types import CodeType
from typing import Any

from flows.plan.own_files import OwnFileError, OwnFiles
from flows.plan.plugins import PluginError, import_failure
from flows.plan.validation import unknown
from mappers.contract import Document, Record

MapFunction = Callable[[Document], Iterable[Record]]


def user_function(spec: str, files: OwnFiles, options: Mapping[str, Any]) -> tuple[MapFunction, str]:
    """Return the function that `file.py:function` names, its options bound, and the SHA-256 of the file.

    An edited mapper is another mapper. The function takes the document, then its options by keyword. Raises PluginError
    for what does not fit.
    """
    file_name, colon, name = spec.rpartition(":")
    if not colon or not file_name.endswith(".py") or not name.isidentifier() or "\x00" in file_name:
        raise PluginError("write file.py:function; the file lies beside the plan")
    try:
        content = files.read(file_name)
    except OwnFileError as error:
        raise PluginError(str(error)) from error
    digest = hashlib.sha256(content).hexdigest()
    module = _module(file_name, content, files.place(file_name))
    function = getattr(module, name, None)
    if not callable(function):
        functions = [own for own, _ in inspect.getmembers(module, inspect.isfunction) if not own.startswith("_")]
        raise PluginError(unknown(name, functions, "function in the file"))
    _check_options(function, options)
    return (partial(function, **options) if options else function), digest


def _check_options(function: Callable[..., Any], options: Mapping[str, Any]) -> None:
    try:
        signature = inspect.signature(function)
        signature.bind_partial({})
    except (TypeError, ValueError):
        raise PluginError("the function's first parameter must take the document") from None
    taken = [*signature.parameters.values()][1:]
    names = [
        parameter.name
        for parameter in taken
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    ]
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in taken):
        for name in options:
            if name not in names:
                raise PluginError(unknown(name, names, f"option {name!r} of the function"))
    lacking = [
        parameter.name
        for parameter in taken
        if parameter.name in names and parameter.default is parameter.empty and parameter.name not in options
    ]
    if lacking:
        raise PluginError(f"the function needs the options {', '.join(lacking)}; write them under options")
    try:
        # A partial's signature raises ValueError for an option that the function takes by position only.
        inspect.signature(partial(function, **options)).bind({})
    except (TypeError, ValueError):
        raise PluginError("the function must take the document alone, and its options by name") from None


class _TextLoader(ExecutionLoader):
    """Runs a module from its text in memory; tracebacks show its lines."""

    def __init__(self, content: bytes, place: str) -> None:
        self._content = content
        self._place = place

    def get_filename(self, fullname: str) -> str:
        """Return what the module has as its file."""
        return self._place

    def get_source(self, fullname: str) -> str:
        """Return the text."""
        return decode_source(self._content)

    def get_code(self, fullname: str) -> CodeType:
        """Return the compiled text; no file of it is left anywhere."""
        return self.source_to_code(self._content, self._place)


def _module(file_name: str, content: bytes, place: str) -> Any:
    # The name is the same on every machine that has the file, so that what one of them pickles, another can read.
    name = f"offramp_user_{hashlib.sha256(file_name.encode() + bytes(1) + content).hexdigest()[:16]}"
    spec = spec_from_loader(name, loader := _TextLoader(content, place))
    if spec is None:
        raise PluginError("the file cannot be loaded as Python")
    module = module_from_spec(spec)
    sys.modules[name] = module
    try:
        loader.exec_module(module)
    except (Exception, SystemExit) as error:  # The user's own code may raise anything while it is loaded.
        sys.modules.pop(name, None)
        raise PluginError(f"the file fails when it is loaded: {import_failure(error)}") from error
    return module
