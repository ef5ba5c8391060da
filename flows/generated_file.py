"""The command of a module that makes a file of the repository: print it, write it, or check that it is current."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path


def run(
    arguments: Sequence[str],
    module: str,
    file: Path,
    make: Callable[[str], str],
    *,
    show: Callable[[], str] | None = None,
    faults: Callable[[], Iterable[str]] = tuple,
) -> int:
    """Print, write or check the file; returns the exit code.

    `make` returns the content of the file from its present content, "" where there is no file. Without arguments
    `show` is printed, else the whole content. `--check` also fails for each of the `faults`.
    """
    present = file.read_text(encoding="utf-8") if file.exists() else ""
    match list(arguments):
        case []:
            sys.stdout.write(show() if show is not None else make(present))
        case ["--write"]:
            file.write_text(make(present), encoding="utf-8")
        case ["--check"]:
            wrong = list(faults())
            if make(present) != present:
                wrong.append(f"{file} is not current; run python -m {module} --write")
            for fault in wrong:
                sys.stderr.write(f"{fault}\n")
            return 1 if wrong else 0
        case _:
            sys.stderr.write(f"usage: python -m {module} [--write | --check]\n")
            return 2
    return 0
