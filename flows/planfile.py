"""Reading a YAML file so that every fault can name its line: values, where they stand, and `${ENV}` filled in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from stores.errors import PlanError

Where = tuple[str | int, ...]
"""The path of a value in the file: keys and positions from the top."""

_VARIABLE = re.compile(r"\$\$\{|\$\{([^}:]*)(?::-([^}]*))?\}")
_SHOWN = 60


@dataclass(slots=True)
class PlanFile:
    """A parsed file: its value, the line of each part, and what was wrong so far."""

    path: Path
    value: Any = None
    lines: dict[Where, int] = field(default_factory=dict)
    written: dict[Where, str] = field(default_factory=dict)
    """The text as written of each value that came from the environment: what a fault may show of it."""
    faults: list[str] = field(default_factory=list)

    def fault(self, where: Where, message: str) -> None:
        """Note a fault at a key: file, line, key, and what to do about it."""
        line = next((self.lines[where[:end]] for end in range(len(where), -1, -1) if where[:end] in self.lines), 1)
        key = ".".join(str(part) for part in where)
        self.faults.append(f"{self.path}:{line}: {key + ': ' if key else ''}{message}")

    def shown(self, where: Where, value: Any) -> str:
        """Return the value as a fault may show it: never what the environment filled in."""
        text = self.written.get(where) or repr(value)
        return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"

    def from_environment(self, where: Where) -> bool:
        """Tell whether the value, or a part of it, came from the environment."""
        return any(path[: len(where)] == where for path in self.written)

    def error(self) -> PlanError:
        """Return all faults as one error, in the order of their lines."""
        ordered = sorted(
            dict.fromkeys(self.faults), key=lambda fault: int(fault[len(str(self.path)) + 1 :].split(":")[0])
        )
        count = f"{len(ordered)} fault{'s' if len(ordered) > 1 else ''} in the plan"
        return PlanError("E-PLAN", "\n  ".join([f"{count}; nothing has been written", *ordered]))


def read(path: Path, environment: Mapping[str, str]) -> PlanFile:
    """Return the file's content; raises PlanError if it is absent or no YAML.

    ``${NAME}`` stands for an environment variable, ``${NAME:-text}`` gives a default, ``$${`` is a literal ``${``.
    A variable that is not set and a key that stands twice are faults.
    """
    parsed = PlanFile(path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise PlanError("E-PLAN", f"cannot read the plan {str(path)!r}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise PlanError("E-PLAN", f"the plan {str(path)!r} is not UTF-8 text") from None
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise PlanError("E-PLAN", f"{path}:{line}: no YAML: {error.problem}") from None
    except yaml.YAMLError:
        raise PlanError("E-PLAN", f"{path}:1: no YAML: it holds a character that YAML does not allow") from None
    if root is None:
        parsed.fault((), "the file is empty; config/plan.example.yaml shows every key")
        raise parsed.error()
    loader = yaml.SafeLoader("")
    try:
        parsed.value = _value(root, (), parsed, environment, loader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise PlanError("E-PLAN", f"{path}:{line}: no YAML: {error.problem}") from None
    finally:
        loader.dispose()
    return parsed


def _value(
    node: yaml.Node, where: Where, parsed: PlanFile, environment: Mapping[str, str], loader: yaml.SafeLoader
) -> Any:
    parsed.lines.setdefault(where, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        mapping: dict[Any, Any] = {}
        loader.flatten_mapping(node)  # Anchors merged with <<, as everywhere in YAML.
        for key_node, value_node in node.value:
            key = loader.construct_object(key_node)
            key = key if isinstance(key, str) else str(key_node.value)
            below = (*where, key)
            if key in mapping:
                parsed.fault(below, f"stands a second time on line {key_node.start_mark.line + 1}; keep one")
            parsed.lines[below] = key_node.start_mark.line + 1
            mapping[key] = _value(value_node, below, parsed, environment, loader)
        return mapping
    if isinstance(node, yaml.SequenceNode):
        return [_value(inner, (*where, at), parsed, environment, loader) for at, inner in enumerate(node.value)]
    value = loader.construct_object(node)
    return _filled(value, where, parsed, environment) if isinstance(value, str) and "${" in value else value


def _filled(text: str, where: Where, parsed: PlanFile, environment: Mapping[str, str]) -> str:
    def fill(match: re.Match[str]) -> str:
        if match[0] == "$${":
            return "${"
        name, default = match[1], match[2]
        if name in environment:
            return environment[name]
        if default is not None:
            return default
        parsed.fault(where, f"the environment variable {name!r} is not set; set it, or write ${{{name}:-default}}")
        return ""

    parsed.written[where] = text
    return _VARIABLE.sub(fill, text)
