"""The judge: what a target holds against what it must hold, and what a command claimed against both."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from signal import SIGINT
from typing import Any

from chaos.forms import Content, Expected

SHOWN = 5
BROKEN = "broken soak"
BAD = (
    *("WRONG", "contradiction", "books", "hang", "internal", "secret", "orphans", "unrepaired", "refused"),
    BROKEN,
)
"""The classes of iterations that must not be, the worst first."""
KINDS = ("missing", "differs", "extra")


@dataclass(frozen=True)
class Comparison:
    """How the records of a route differ from what they must be."""

    missing: Sequence[str] = ()
    differs: Sequence[str] = ()
    extra: Sequence[str] = ()
    examples: Sequence[str] = ()

    @property
    def right(self) -> bool:
        """Whether nothing differs."""
        return not (self.missing or self.differs or self.extra)

    def __str__(self) -> str:
        """Return the counts and a few examples."""
        counts = ", ".join(f"{len(getattr(self, kind))} {kind}" for kind in KINDS)
        return f"{counts}: {'; '.join(self.examples)}"


def compare(expected: Mapping[str, Content], held: Mapping[str, Content], now_ms: float | None = None) -> Comparison:
    """Return how the records differ; one that has expired may be there or gone."""
    now_ms = time.time() * 1000 if now_ms is None else now_ms
    due = {address for address, (*_, expires) in expected.items() if expires is not None and expires <= now_ms}
    missing = [address for address in expected if address not in held and address not in due]
    extra = [address for address in held if address not in expected]
    differs = [address for address in expected if address in held and expected[address] != held[address]]
    examples = [f"missing {address!r}" for address in missing[:SHOWN]]
    examples += [f"extra {address!r}: {held[address]!r:.300}" for address in extra[:SHOWN]]
    examples += [f"differs {at!r}: wanted {expected[at]!r:.600}, found {held[at]!r:.600}" for at in differs[:SHOWN]]
    return Comparison(missing, differs, extra, examples)


@dataclass(frozen=True)
class Outcome:
    """What a command printed and how it ended."""

    command: Sequence[str]
    code: int
    """Its exit code; negative for the signal that killed it."""
    out: str
    err: str
    seconds: float = 0.0
    signal: int | None = None
    """The last signal that it was sent, if any."""
    stopped_within_s: float | None = None
    """How long it took to obey the signal."""

    @property
    def report(self) -> dict[str, Any]:
        """The JSON that it printed; empty if it printed none."""
        try:
            printed = json.loads(self.out)
        except ValueError:
            return {}
        return printed if isinstance(printed, dict) else {}

    @property
    def rows(self) -> Sequence[Mapping[str, Any]]:
        """The rows of its report, a route each."""
        return [row for row in self.report.get("routes", []) if isinstance(row, dict)]

    @property
    def reasons(self) -> Sequence[str]:
        """Why the routes are not clean, by its report."""
        return [f"{row.get('route')}: {reason}" for row in self.rows for reason in row.get("reasons") or ()]

    @property
    def error(self) -> str:
        """The code of the error that it ended with, "" for none."""
        return str(self.report.get("error", {}).get("code", ""))

    def route(self, name: str) -> Mapping[str, Any]:
        """Return the report's row of a route; empty if there is none."""
        return next((row for row in self.rows if row.get("route") == name), {})


@dataclass
class Findings:
    """What was found wrong in an iteration, by class."""

    by_class: dict[str, list[str]] = field(default_factory=dict)

    def add(self, kind: str, text: str) -> None:
        """Note something of a class."""
        self.by_class.setdefault(kind, []).append(text)


def judge_ending(outcome: Outcome, exit_code_of: Mapping[str, int], findings: Findings) -> None:
    """Note what is wrong with a command by itself: its exit code against its report, tracebacks, internal errors."""
    shown = " ".join(outcome.command)
    # Ctrl-C while Python begins is Python's own to report.
    begins = outcome.signal == SIGINT and outcome.err.rstrip().endswith("KeyboardInterrupt")
    # Prefect's temporary server logs its own when it is stopped while it begins.
    foreign = begins or "| uvicorn.error - Traceback" in outcome.err
    if "Traceback (most recent call last)" in outcome.err + outcome.out and not foreign:
        findings.add("internal", f"{shown}: a traceback: {outcome.err[-1500:]}")
    if "E-INTERNAL" in outcome.err + outcome.out:
        findings.add("internal", f"{shown}: {outcome.error} {outcome.err[-1500:]}")
    if outcome.code < 0 or outcome.code in (137, 139):
        if outcome.signal is None:
            findings.add("internal", f"{shown}: ended by signal {-outcome.code}")
        return
    verdict = outcome.report.get("verdict")
    if outcome.signal is not None:
        # A signal that came after the last checkpoint changes nothing.
        allowed = {128 + outcome.signal, *exit_code_of.values(), 2}
    elif verdict is not None:
        allowed = {exit_code_of[verdict]} if verdict in exit_code_of else set()
    else:
        allowed = {0, 1, 2, 3}
    if outcome.code not in allowed:
        findings.add(
            "contradiction", f"{shown}: exit code {outcome.code}, verdict {verdict}, allowed {sorted(allowed)}"
        )
    if outcome.code in exit_code_of.values() and outcome.signal is None and not outcome.report:
        findings.add("contradiction", f"{shown}: exit code {outcome.code}, and no JSON: {outcome.err[-800:]}")
    for row in outcome.rows:
        if row.get("verdict") == "clean":
            _judge_books(shown, row, findings)


def _judge_books(shown: str, row: Mapping[str, Any], findings: Findings) -> None:
    read, parts = row.get("read"), [row.get(name) for name in ("dropped", "rejected", "copied")]
    if read is not None and None not in parts and read != sum(part or 0 for part in parts):
        findings.add("books", f"{shown}: {row['route']}: clean, but {read} read and {parts} dropped, rejected, copied")
    names = ("held", "missing", "collides", "expired")
    kept = [row.get(name) for name in names]
    if row.get("verified") == "full" and None not in kept and row.get("records") != sum(part or 0 for part in kept):
        findings.add("books", f"{shown}: {row['route']}: clean, but {row.get('records')} records and {kept} {names}")


def judge_claim(outcome: Outcome, route: str, expected: Expected, found: Comparison, findings: Findings) -> None:
    """Note a claim about a route that is not true; since the command began nobody else has written anywhere.

    A sync claims that the target follows the source; a full
    verification claims its counts.
    """
    row = outcome.route(route)
    if not row:
        return
    shown = f"{' '.join(outcome.command)}: {route}"
    verdict, command = row.get("verdict"), outcome.command[0]
    accepted = row.get("accepted") or 0
    verified = row.get("verified")
    compared = command == "sync" or verified == "full"
    if verdict == "clean" and (
        (compared and not found.right) or (verified == "sample" and (found.missing or found.differs))
    ):
        findings.add("WRONG", f"{shown} is called clean, but {found}")
    if verdict == "clean" and compared and expected.rejected > accepted:
        findings.add("WRONG", f"{shown} is called clean, but {expected.rejected} documents cannot be mapped")
    if verdict in ("rejects", "mismatches") and command == "sync" and not found.right:
        findings.add("WRONG", f"{shown} was synced to its end ({verdict}), but {found}")
    if verified == "full" and verdict in ("clean", "rejects", "mismatches"):
        for kind in KINDS:
            counted = row.get(kind)
            if counted is not None and counted != len(getattr(found, kind)):
                findings.add("WRONG", f"{shown}: reports {counted} {kind}, but {found}")
    if verdict == "rejects" and verified == "full" and row.get("rejected") != expected.rejected:
        findings.add("told-otherwise", f"{shown}: reports {row.get('rejected')} rejected, expected {expected.rejected}")


def verdict_of(findings: Findings, last: Outcome | None) -> str:
    """Return the class of an iteration: the worst that was found; else clean, or told if its last command says so."""
    for kind in BAD:
        if kind in findings.by_class:
            return kind
    return "clean" if last is not None and last.code == 0 else "told"
