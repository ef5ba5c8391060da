"""docs/errors.md: every code that a run can show, from the catalogue, which is checked against the raising code.

`python -m flows.docgen.errors` prints the page, `--write` writes it and `--check` compares it. `--check` also fails for
a code that is raised and has no entry, for an entry that nothing raises, and for an entry with another effect than the
error that raises it.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flows import generated_file
from flows.error_codes import CATALOGUE
from mappers.error_codes import EFFECTS, Effect, Entry
from stores.contract.stop import STOPPED

FILE = Path(__file__).parents[2] / "docs" / "errors.md"
_ROOT = Path(__file__).parents[2]
_PACKAGES = ("mappers", "stores", "flows")
_CODE = re.compile(r"\b[EWI]-[A-Z][A-Z0-9]*(?:-[A-Z0-9]+)*\b")
_EFFECT_OF: Mapping[str, Effect] = {
    "PlanError": "refused",
    "MappingError": "rejected",
    "Rejected": "rejected",
    "Reject": "rejected",
    "Unfit": "rejected",
    "TransientError": "paused",
    "PermanentError": "stopped",
    "LeaseLost": "stopped",
    "OverBudget": "limited",
}
_EFFECT_OF_CODE: Mapping[str, Effect] = {STOPPED: "interrupted"}
"""The effect of a code whose error class has another: a stop that was asked for is no failure."""
_KINDS_OF: Mapping[Effect, Collection[Effect]] = {
    "paused": ("paused", "postponed", "failed"),
    "stopped": ("stopped", "ended", "failed"),
}
"""The effects of which an entry names one or more for an error class: who reads it is to do something else in each."""
_OF_A_ROUTE = ("stores/", "flows/connect/", "flows/replication/")
"""Where a PlanError may be about a single route: a sync goes on without the route, and so does a backfill that finds it
while it prepares the route. It then ends with another exit code than a command that is refused as a whole."""
_OF_THE_PLAN = frozenset(
    (
        *("E-SRC-COLLECTION", "E-SRC-URI", "E-STATE-OPEN", "E-STATE-URL", "E-STATE-VERSION"),
        *("E-STATE-BACKUP", "E-STATE-EMPTY", "E-STATE-FILE", "E-STATE-OCCUPIED"),
    )
)
"""Codes from such a place that refuse the whole command, always: they are about the plan, or get another code."""
_OF_A_ROUTE_ALONE = frozenset(("E-ES-NOINDEX", "E-RDS-MEMORY"))
"""Codes of a PlanError that no command raises before it has begun its routes."""
_HEAD = """\
<!-- made by `python -m flows.docgen.errors --write`; change the tables in the files named error_codes.py -->

# Errors

Every error message begins with a code, and `offramp explain CODE` prints the code's entry. `E-` codes stop something or
reject a document; `W-` codes are notes. Your own mappers and targets may use codes that are not listed here.

What offramp did is one of these. Where a code has several, the message and the exit code say which it was.

"""


@dataclass(frozen=True, slots=True)
class Use:
    """A place in the source text that names a code."""

    code: str
    place: str
    effect: Effect | None
    """The effect of the error class that takes it, None where that is decided elsewhere."""


def uses(root: Path = _ROOT) -> Iterator[Use]:
    """Yield every code in the packages' texts; docstrings and the catalogue itself are left out."""
    for package in _PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            if path.name != "error_codes.py":
                yield from _uses(ast.parse(path.read_text(encoding="utf-8")), path.relative_to(root).as_posix())


def _uses(tree: ast.AST, place: str) -> Iterator[Use]:
    prose = {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    raised_as = {
        id(argument): call.func.id
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name)
        for argument in call.args
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            effect = _EFFECT_OF.get(raised_as.get(id(node), ""))
            for code in _CODE.findall(node.value):
                at = f"{place} line {node.lineno}"
                if effect != "refused" or code not in _OF_A_ROUTE_ALONE:
                    yield Use(code, at, effect and _EFFECT_OF_CODE.get(code, effect))
                if effect == "refused" and place.startswith(_OF_A_ROUTE) and code not in _OF_THE_PLAN:
                    yield Use(code, at, "stopped")


def faults(found: Iterable[Use], catalogue: Mapping[str, Entry]) -> list[str]:
    """Return each difference between the uses and the catalogue, and what to do about it, in the order of the codes."""
    differences: dict[str, str] = {}
    seen = set()
    for use in found:
        seen.add(use.code)
        entry = catalogue.get(use.code)
        if entry is None:
            differences.setdefault(
                use.code,
                f"{use.code} ({use.place}) has no entry: add its meaning and remedy to {_table_for(use)}, with the"
                f" effect {use.effect or 'of its error'}",
            )
        elif use.effect is not None and set(_KINDS_OF.get(use.effect, (use.effect,))).isdisjoint(entry.effects):
            differences.setdefault(
                use.code,
                f"{use.code} ({use.place}) is raised as {use.effect}, but its entry says {' '.join(entry.effects)}: add"
                f" {' or '.join(_KINDS_OF.get(use.effect, (use.effect,)))}",
            )
    for code in sorted(catalogue.keys() - seen):
        differences[code] = f"{code} has an entry, but nothing raises it: remove the entry"
    return [differences[code] for code in sorted(differences)]


def _table_for(use: Use) -> str:
    """Return the file whose table the code's entry belongs in."""
    package, *folders = use.place.split("/")
    beside = f"{package}/{folders[0]}/error_codes.py"
    return beside if (_ROOT / beside).exists() else f"{package}/error_codes.py"


def page(catalogue: Mapping[str, Entry] = CATALOGUE) -> str:
    """Return docs/errors.md."""
    effects = _table(["what offramp did", "that is"], [[f"**{name}**", text] for name, text in EFFECTS.items()])
    rows = [[f"`{code}`", entry.meaning, ", ".join(entry.effects), entry.remedy] for code, entry in catalogue.items()]
    return _HEAD + effects + "\n" + _table(["code", "what it means", "what offramp did", "what to do"], rows)


def _table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [names, ["---"] * len(names), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n" for cells in lines)


def main(arguments: Sequence[str]) -> int:
    """Print, write or check the page; returns the exit code."""
    return generated_file.run(
        arguments, "flows.docgen.errors", FILE, lambda _: page(), faults=lambda: faults(uses(), CATALOGUE)
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
