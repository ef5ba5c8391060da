"""YAML of a plan as nodes, within bounds: whoever sends a plan to be checked cannot make the check last or fail."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import yaml

from flows.quantities import counted
from stores.errors import PlanError

MOST_BYTES: Final = 1 << 20
"""The size of a plan; one of 3,000 routes is below it."""
MOST_DEPTH: Final = 50
MOST_VALUES: Final = 100_000
"""Keys and values, each counted again wherever an alias or a merge repeats it."""
MOST_LETTERS: Final = 16 << 20
"""Their letters, counted likewise."""
_LONGEST_NUMBER: Final = 60
_MERGE: Final = "tag:yaml.org,2002:merge"
_PREFIX: Final = "tag:yaml.org,2002:"
_SCALARS: Final = frozenset(_PREFIX + name for name in ("str", "int", "float", "bool", "null", "timestamp", "merge"))
_COLLECTIONS: Final = frozenset(_PREFIX + name for name in ("map", "seq"))

Pair = tuple[yaml.ScalarNode, yaml.Node]


class PlanBoundError(yaml.MarkedYAMLError):
    """The file is YAML, and beyond what a plan may be."""


def read_text(path: Path) -> str:
    """Return the text of the file; raises PlanError for what is no plain file of UTF-8 text, or is too long."""
    try:
        # Without O_NONBLOCK the opening of a pipe waits until somebody writes to it.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise PlanError("E-PLAN", f"the plan {str(path)!r} is no plain file; write it to one")
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise PlanError("E-PLAN", f"cannot read the plan {str(path)!r}: {error.strerror}") from error
    except ValueError:
        raise PlanError("E-PLAN", f"cannot read the plan {str(path)!r}: its path has a NUL character") from None
    if len(content) > MOST_BYTES:
        raise PlanError("E-PLAN", f"the plan {str(path)!r} has more than {MOST_BYTES} bytes; split it")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise PlanError("E-PLAN", f"the plan {str(path)!r} is not UTF-8 text") from None


def composed(text: str) -> yaml.Node | None:
    """Return the root of the only document, None for none; raises yaml.YAMLError for what is no YAML or too deep."""
    node: yaml.Node | None = yaml.compose(text, Loader=_Loader)
    return node


class _Loader(yaml.SafeLoader):
    """The safe loader, which stops at a depth before Python does."""

    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self._depth += 1
        try:
            if self._depth > MOST_DEPTH:
                mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
                raise PlanBoundError(None, None, f"it is nested deeper than {MOST_DEPTH}", mark)
            node: yaml.Node | None = super().compose_node(parent, index)
            return node
        finally:
            self._depth -= 1


class Walk:
    """A walk through the nodes of a plan, which counts what it visits; raises yaml.MarkedYAMLError past a bound."""

    def __init__(self) -> None:
        """Nothing is visited yet."""
        self._values = 0
        self._letters = 0
        self._open: set[int] = set()
        self._merging: set[int] = set()
        self._loader = yaml.SafeLoader("")

    def visit(self, node: yaml.Node) -> None:
        """Count the node, and refuse a tag that no plan has."""
        self._count(node, 1, len(node.value) if isinstance(node, yaml.ScalarNode) else 0)
        if node.tag not in (_SCALARS if isinstance(node, yaml.ScalarNode) else _COLLECTIONS):
            raise _fault(node, f"it has the tag {node.tag[:_LONGEST_NUMBER]!r}; write plain values without tags")

    @contextmanager
    def entered(self, node: yaml.Node) -> Iterator[None]:
        """The body is within the node; an alias may lead deeper than the file is nested, and in a circle."""
        if id(node) in self._open:
            raise _fault(node, "a value contains itself through an anchor (&) and an alias (*)")
        if len(self._open) >= MOST_DEPTH:
            raise _fault(node, f"it is nested deeper than {MOST_DEPTH}")
        self._open.add(id(node))
        yield
        self._open.discard(id(node))

    def pairs(self, node: yaml.MappingNode) -> dict[str, Pair]:
        """Return the keys of a mapping with their nodes: those that `<<` brings, then its own, which go before them."""
        if id(node) in self._merging:
            raise _fault(node, "a mapping merges itself (<<)")
        self._merging.add(id(node))
        found: dict[str, Pair] = {}
        for key, value in node.value:
            if key.tag == _MERGE:
                for merged in reversed(_merged(value)):
                    found.update(self.pairs(merged))
                    self._count(node, len(found), 0)
        self._merging.discard(id(node))
        found.update({key_text(key): (key, value) for key, value in node.value if key.tag != _MERGE})
        return found

    def value(self, node: yaml.ScalarNode) -> Any:
        """Return the value of a scalar; raises ValueError for what looks like a number or a date and is none."""
        if node.tag != f"{_PREFIX}str" and len(node.value) > _LONGEST_NUMBER:
            raise ValueError
        try:
            value = self._loader.construct_object(node)
        except (AttributeError, KeyError, OverflowError, TypeError):  # Such as `!!bool maybe`.
            raise ValueError from None
        if isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
            raise ValueError
        return value

    def _count(self, node: yaml.Node, values: int, letters: int) -> None:
        self._values += values
        self._letters += letters
        if self._values > MOST_VALUES or self._letters > MOST_LETTERS:
            raise _fault(
                node,
                f"the plan has more than {counted(MOST_VALUES, 'value')}, or aliases (*) repeat too much; split it",
            )


def key_text(node: yaml.Node) -> str:
    """Return a key as text; raises yaml.MarkedYAMLError for a list or a mapping."""
    if not isinstance(node, yaml.ScalarNode):
        raise _fault(node, "a list or a mapping is where a key should be")
    return str(node.value)


def is_merge(node: yaml.Node) -> bool:
    """Return whether the key is ``<<``."""
    return bool(node.tag == _MERGE)


def _merged(node: yaml.Node) -> list[yaml.MappingNode]:
    nodes = node.value if isinstance(node, yaml.SequenceNode) else [node]
    for each in nodes:
        if not isinstance(each, yaml.MappingNode):
            raise _fault(each, "<< merges mappings only")
    return list(nodes)


def _fault(node: yaml.Node, problem: str) -> PlanBoundError:
    return PlanBoundError(None, None, problem, node.start_mark)
