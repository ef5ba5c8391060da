"""docs/rules.md: the facts and rules that the code cites as R-numbers, and the folders that cite each.

The page's rows are written by hand; `python -m flows.docgen.rules --write` fills their last column and `--check`
compares it. `--check` also fails for a number that is cited and has no row, and for a row that nothing cites.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from flows import generated_file

FILE = Path(__file__).parents[2] / "docs" / "rules.md"
ROOT = Path(__file__).parents[2]
_FOLDERS = ("mappers", "stores", "flows", "tests", "benchmarks")
_SUFFIXES = (".py", ".hpp", ".cpp")
_NUMBER = re.compile(r"\bR\d+\b")
_ROW = re.compile(r"^\| (R\d+) \|(.*)\|[^|]*\|$", re.MULTILINE)


def citing(root: Path | None = None) -> dict[str, list[str]]:
    """Return the folders that cite each rule, sorted, by the rule's number; `root` is the repository.

    Folders of tests are named only for a rule that nothing else cites.
    """
    root = root or ROOT
    folders: dict[str, set[str]] = {}
    for folder in _FOLDERS:
        for path in sorted((root / folder).rglob("*")):
            if path.suffix in _SUFFIXES:
                place = path.parent.relative_to(root).as_posix()
                for number in _NUMBER.findall(path.read_text(encoding="utf-8")):
                    folders.setdefault(number, set()).add(place)
    return {number: _without_tests(places) for number, places in folders.items()}


def _without_tests(places: set[str]) -> list[str]:
    return sorted(place for place in places if not place.startswith("tests")) or sorted(places)


def page(current: str, cited: Mapping[str, Sequence[str]]) -> str:
    """Return the page with the folders that cite each rule in its last column."""

    def row(match: re.Match[str]) -> str:
        folders = ", ".join(f"`{folder}`" for folder in cited.get(match[1], ()))
        return f"| {match[1]} |{match[2]}| {folders} |"

    return _ROW.sub(row, current)


def faults(current: str, cited: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Yield each difference between the page's rows and the rules that are cited, and what to do about it."""
    listed = [match[1] for match in _ROW.finditer(current)]
    for number in sorted(cited.keys() - set(listed), key=_order):
        yield f"{number} is cited in {', '.join(cited[number])} and has no row in docs/rules.md: add it"
    for number in listed:
        if number not in cited:
            yield f"{number} has a row in docs/rules.md, but nothing cites it: remove the row"
    if listed != sorted(set(listed), key=_order):
        yield "the rows of docs/rules.md are out of order, or two have one number: sort them by number"


def _order(number: str) -> int:
    return int(number[1:])


def main(arguments: Sequence[str]) -> int:
    """Print, write or check the page; returns the exit code."""
    cited = citing()
    return generated_file.run(
        arguments,
        "flows.docgen.rules",
        FILE,
        lambda present: page(present, cited),
        faults=lambda: faults(FILE.read_text(encoding="utf-8"), cited),
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
