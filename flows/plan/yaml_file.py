"""Reading a YAML file: its values, the line of each so that every fault can name it, and `${...}` filled in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from flows.plan.bounded_yaml import PlanBoundError, Walk, composed, is_merge, key_text, read_text
from flows.plan.own_files import FilesBeside, OwnFiles, ReadFiles
from flows.plan.references import UnresolvedError, resolve
from flows.quantities import counted
from flows.visible_text import visible
from stores.errors import PlanError
from stores.masking import MASK, is_secret_name

Where = tuple[str | int, ...]
"""The path of a value in the file: keys and positions from the top."""

REFERENCE = re.compile(r"\$\$\{|\$\{([^}]*)(\}?)")
_SHOWN = 60
MOST_FAULTS = 200
"""Faults that are noted of a plan: whoever corrects that many finds the others next time."""
_SECRET = 4
"""Shorter values of references are masked at their own keys, but not wherever their letters occur."""
_BEGINNING = 12
"""A shorter beginning of a secret, such as ``redis://``, may be in a text by chance and is not masked."""


@dataclass(slots=True)
class PlanFile:
    """A parsed file: its value, the line of each part, and the faults so far."""

    path: Path
    own_files: ReadFiles
    """The files that the plan names."""
    text: str = ""
    """The content, as it is written."""
    value: Any = None
    lines: dict[Where, int] = field(default_factory=dict)
    written: dict[Where, str] = field(default_factory=dict)
    """The text in the file of each value that a reference filled in, which a fault may show."""
    faults: list[str] = field(default_factory=list)
    secrets_at: dict[Where, list[str]] = field(default_factory=dict)
    """The values of the references at each place, but for defaults, which are in the plan."""
    _secrets: dict[str, str] = field(default_factory=dict)
    _unfilled: set[Where] = field(default_factory=set)

    def fault(self, where: Where, message: str) -> None:
        """Note a fault at a key: file, line, key, and what to do about it.

        A value that could not be filled in has its fault already and gets no other.
        """
        if where in self._unfilled or len(self.faults) >= MOST_FAULTS:
            return
        line = next((self.lines[where[:end]] for end in range(len(where), -1, -1) if where[:end] in self.lines), 1)
        key = ".".join(_cut(str(part)) for part in where)
        self.faults.append(visible(f"{self.path}:{line}: {key + ': ' if key else ''}{self._masked(message)}"))

    def is_unfilled(self, where: Where) -> bool:
        """Return whether the value, or a part of it, could not be filled in, so that it cannot be judged."""
        return any(path[: len(where)] == where for path in self._unfilled)

    def shown(self, where: Where, value: Any) -> str:
        """Return the value as a fault may show it, without anything that a reference filled in or that is a secret."""
        value = self._without_secrets(where, value)
        text = "nothing" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)
        return _cut(text)

    def from_environment(self, where: Where) -> bool:
        """Return whether a reference filled in the value or a part of it."""
        return any(path[: len(where)] == where for path in self.written)

    def fill(self, where: Where, text: str, environment: Mapping[str, str]) -> str:
        """Return the text with its references filled in; note a fault for one without a value or written wrongly."""

        def filled(match: re.Match[str]) -> str:
            if match[0] == "$${":
                return "${"
            if not match[2]:
                self._unfit(
                    where, f"found {match[0]!r}, which has no end; write }} at its end, or $${{ for a literal ${{"
                )
                return ""
            try:
                value = resolve(match[1], environment)
            except UnresolvedError as error:
                self._unfit(where, str(error))
                return ""
            if value.is_secret:
                self._secrets[value.text] = match[0]
                self.secrets_at.setdefault(where, []).append(value.text)
            return value.text

        self.written[where] = text
        return REFERENCE.sub(filled, text)

    def _unfit(self, where: Where, message: str) -> None:
        self.fault(where, message)
        self._unfilled.add(where)

    def _without_secrets(self, where: Where, value: Any) -> Any:
        if where in self.written:
            return self.written[where]
        if isinstance(value, Mapping):
            return {name: self._without_secrets((*where, name), inner) for name, inner in value.items()}
        if isinstance(value, list):
            return [self._without_secrets((*where, at), inner) for at, inner in enumerate(value)]
        if value is not None and where and is_secret_name(str(where[-1])):
            return MASK
        # Up to the last @: a password may have anything in it, an @ too.
        return re.sub(r"(//|^).*@", r"\1…@", value, flags=re.DOTALL) if isinstance(value, str) else value

    def _masked(self, message: str) -> str:
        # The text of a target's or a mapper's fault may quote a value it was given, or the beginning of one.
        for secret, written in sorted(self._secrets.items(), key=lambda item: -len(item[0])):
            for text in (secret, repr(secret)[1:-1]):
                if len(text) >= _SECRET:
                    message = message.replace(text, written)
                # A longer beginning is in no message; a secret from a file may have a million letters.
                for end in range(min(len(text) - 1, len(message)), _BEGINNING - 1, -1):
                    message = message.replace(text[:end], written)
        return message

    def error(self) -> PlanError:
        """Return all faults as one error, in the order of their lines."""
        ordered = sorted(
            dict.fromkeys(self.faults), key=lambda fault: int(fault[len(visible(str(self.path))) + 1 :].split(":")[0])
        )
        return PlanError("E-PLAN", f"{counted(len(ordered), 'fault')} in the plan; nothing has been written", ordered)


def read(
    path: Path, environment: Mapping[str, str], text: str | None = None, files: OwnFiles | None = None
) -> PlanFile:
    """Return the file's content; raises PlanError if it is absent or no YAML.

    With `text` that is the content, and no file is read. The plan names `files`, those beside it unless given.
    ``${NAME}`` stands for an environment variable,
    ``${NAME:-text}`` gives a default, ``${file:/path}`` and ``${prefect-secret:name}`` stand for what a file or a
    Secret block holds, ``$${`` is a literal ``${``. A reference without a value and a key that is there twice are
    faults.
    """
    parsed = PlanFile(path, ReadFiles(files or FilesBeside(path.parent)))
    if text is None:
        text = read_text(path)
    parsed.text = text
    try:
        root = composed(text)
        if root is None:
            parsed.fault((), "the file is empty; config/plan.example.yaml shows every key")
            raise parsed.error()
        parsed.value = _value(root, (), parsed, environment, Walk())
    except yaml.MarkedYAMLError as error:
        raise _no_yaml(path, error) from None
    except RecursionError:
        raise PlanError("E-PLAN", f"{path}:1: mappings merge each other (<<) too deep; write them out") from None
    except yaml.YAMLError:
        raise PlanError("E-PLAN", f"{path}:1: this is not YAML: it has a character that YAML does not allow") from None
    return parsed


def _value(node: yaml.Node, where: Where, parsed: PlanFile, environment: Mapping[str, str], walk: Walk) -> Any:
    parsed.lines.setdefault(where, node.start_mark.line + 1)
    walk.visit(node)
    if isinstance(node, yaml.ScalarNode):
        return _scalar(node, where, parsed, environment, walk)
    with walk.entered(node):
        if not isinstance(node, yaml.MappingNode):
            return [_value(inner, (*where, at), parsed, environment, walk) for at, inner in enumerate(node.value)]
        own: dict[str, yaml.Node] = {}
        for key_node, value_node in node.value:  # Before merging: a key may say otherwise than what << brings.
            key = key_text(key_node)
            if key in own and not is_merge(key_node):
                parsed.fault((*where, key), f"is written again on line {key_node.start_mark.line + 1}; keep one")
                _value(own[key], (*where, key), parsed, environment, walk)  # Whose faults are noted too.
            own[key] = value_node
            parsed.lines.setdefault((*where, key), key_node.start_mark.line + 1)
        mapping: dict[Any, Any] = {}
        for key, (key_node, value_node) in walk.pairs(node).items():
            parsed.lines.setdefault((*where, key), key_node.start_mark.line + 1)
            mapping[key] = _value(value_node, (*where, key), parsed, environment, walk)
        return mapping


def _scalar(node: yaml.ScalarNode, where: Where, parsed: PlanFile, environment: Mapping[str, str], walk: Walk) -> Any:
    try:
        value = walk.value(node)
    except ValueError:  # 2024-02-30 looks like a date.
        shown = parsed.shown(where, node.value)
        parsed.fault(where, f"found {shown}, which is not a valid date or number; put it in quotes if it is text")
        return None
    return parsed.fill(where, value, environment) if isinstance(value, str) and "${" in value else value


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def _no_yaml(path: Path, error: yaml.MarkedYAMLError) -> PlanError:
    line = error.problem_mark.line + 1 if error.problem_mark else 1
    reason = ", ".join(part for part in (error.context, error.problem) if part)
    hint = "; indent with spaces, not tabs" if "\\t" in reason else ""
    what = "" if isinstance(error, PlanBoundError) else "this is not YAML: "
    return PlanError("E-PLAN", visible(f"{path}:{line}: {what}{reason}{hint}"))
