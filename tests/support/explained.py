"""Whether what `offramp explain` says of a code is true of the commands that end with it: their exit codes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from flows import exit_codes
from flows.error_codes import CATALOGUE
from mappers.error_codes import EFFECTS, Effect

_SIGNALLED = "E-STOPPED"


def exit_codes_of(effect: Effect) -> set[int]:
    """Return the exit codes that the text of an effect names."""
    named = re.findall(r"exit code ([0-9]+(?: or [0-9]+)*)", EFFECTS[effect])
    return {int(number) for text in named for number in text.split(" or ")}


def contradictions(code: int, out: str, err: str) -> list[str]:
    """Return each code that a command showed as why it, or a route, failed with an exit code that explain denies."""
    return [
        f"{shown} ended with exit code {seen}, and explain knows it with {sorted(known)} only"
        for shown, seen in _endings(code, out, err)
        if shown in CATALOGUE and seen not in (known := set().union(*map(exit_codes_of, CATALOGUE[shown].effects)))
    ]


def _endings(code: int, out: str, err: str) -> Iterator[tuple[str, int]]:
    """Yield each code with the exit code that stands for it: that of the command, or of the route's verdict alone."""
    for shown in re.findall(r"^offramp: ([EW]-[A-Z0-9-]+) ", err, re.MULTILINE):
        yield shown, code
    try:
        content = json.loads(out)
    except ValueError:
        return
    rows = content.get("routes", ()) if isinstance(content, dict) else ()
    for row in rows:
        if "codes" not in row or row.get("verdict") not in exit_codes.OF_VERDICT:
            continue
        seen = exit_codes.OF_VERDICT[row["verdict"]]
        for shown in row["codes"]:
            # A signal, or too many rejects, beside a failure: the verdict is that of the failure.
            beside = seen == exit_codes.FAILED and shown in (_SIGNALLED, "E-REJECTS-BUDGET")
            if shown != _SIGNALLED and not beside:
                yield shown, seen
