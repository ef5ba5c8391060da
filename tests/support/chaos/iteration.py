"""One iteration: a random plan, its commands, and the judge after each of them."""

from __future__ import annotations

import random
import shutil
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from chaos import disturbances
from chaos.commands import Program, Running
from chaos.disturbances import NONE, Disturbance
from chaos.forms import Expected
from chaos.judge import Comparison, Findings, Outcome, compare, judge_claim, judge_ending
from chaos.plans import Case, Scope, fill
from chaos.source_writer import Writer, change
from chaos.stand import SECRET, Place
from flows import exit_codes

COMMAND_LIMIT_S = 240.0
LATE_S = 10.0
DONE = (exit_codes.CLEAN, exit_codes.NOT_CLEAN, exit_codes.STOPPED)


@dataclass
class Iteration:
    """An iteration at work."""

    chance: random.Random
    scope: Scope
    case: Case
    place: Place
    folder: Path
    code: Path | None = None
    findings: Findings = field(default_factory=Findings)
    log: list[str] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    """The disturbances that came so far, by command; none for a command that ended before its own."""
    commands: int = 0
    compared_before: bool = False
    """Whether the next backfill resumes a verification: it tells of records as they were when they were compared."""

    def __post_init__(self) -> None:
        """Make the collections and write the plan."""
        fill(self.chance, self.place.readers, self.case)
        self.plan = self.folder / "plan.yaml"
        plan = dict(self.case.plan)
        self.scope.edit(plan)
        self.plan.write_text(yaml.safe_dump(plan, sort_keys=False, allow_unicode=True))
        self.program = Program(self.folder, self.place.environment(self.folder), self.code)
        self.database = self.place.readers.mongodb[self.case.database]

    def note(self, text: str) -> None:
        """Add a line to the iteration's log."""
        self.log.append(f"{time.strftime('%H:%M:%S', time.gmtime())} {text}")

    def change_source(self, number: int) -> None:
        """Make so many random changes."""
        self.note(f"{number} changes of the source")
        change(self.chance, self.database, self.case.shapes, number)

    def drawn(self) -> Disturbance:
        """Return a random disturbance."""
        proxies = [name for name in self.place.proxies if name.partition("-")[0] in self.case.targets]
        return disturbances.drawn(self.chance, proxies, self.scope.disturbances)

    def arguments(self, command: Sequence[str]) -> list[str]:
        """Return the command with the plan in its place."""
        words = 2 if command[0] == "rejects" else 1
        return [*command[:words], str(self.plan), *command[words:], "--json"]

    def run(self, command: Sequence[str], disturbance: Disturbance = NONE, *, writing: bool = False) -> Outcome:
        """Run a command to its end, disturbed, and judge it by itself and by what it claims."""
        self.note(f"{' '.join(command)} · {disturbance}{' · writing' if writing else ''}")
        writer = Writer(random.Random(self.chance.random()), self.database, self.case.shapes)
        with writer if writing else nullcontext(), self.program.running(*self.arguments(command)) as running:
            watched = disturbances.watch(running, disturbance, self.place, COMMAND_LIMIT_S)
            if not watched.in_time:
                self.hung(running)
            outcome = running.outcome()
            if left := running.left_behind(LATE_S):
                self.findings.add("orphans", f"{' '.join(command)}: {len(left)} of its processes live on after it")
        self.kinds.append(disturbance.kind if watched.disturbed else "none")
        if watched.in_time:
            self.judge(outcome, quiet=not writing)
        return outcome

    def hung(self, running: Running) -> None:
        """Note a command without an end, and end it; its threads are in its standard error."""
        running.send(signal.SIGABRT)
        running.ended(10)
        running.kill()
        shown = " ".join(running.command)
        self.findings.add("hang", f"{shown}: no end within {COMMAND_LIMIT_S:.0f} s; see {running.err.name}")

    def judge(self, outcome: Outcome, *, quiet: bool) -> None:
        """Judge a command by itself; where nothing was written to the source, also by what it claims."""
        self.commands += 1
        self.note(
            f"  {outcome.seconds:.0f} s, exit code {outcome.code}, {outcome.report.get('verdict')} {outcome.error}"
        )
        judge_ending(outcome, exit_codes.OF_VERDICT, self.findings)
        late = outcome.stopped_within_s or 0
        if outcome.signal in (signal.SIGTERM, signal.SIGINT) and late > LATE_S:
            self.findings.add("late", f"{' '.join(outcome.command)}: obeyed a signal after {late:.0f} s")
        resumed, backfills = self.compared_before, outcome.command[0] == "backfill"
        if backfills:
            self.compared_before = outcome.code not in exit_codes.OF_VERDICT.values()
        if quiet and not (backfills and resumed) and any("verdict" in row for row in outcome.rows):
            self.scope.meddle(self.place.readers, self.case)
            for name, (expected, found) in self.compared().items():
                judge_claim(outcome, name, expected, found, self.findings)

    def compared(self) -> dict[str, tuple[Expected, Comparison]]:
        """Return for each route what it must hold, and how what it holds differs."""
        readers = self.place.readers
        documents = {name: readers.documents(self.case.database, name) for name in self.case.shapes}
        found = {}
        for route in self.case.routes:
            expected = route.expected(documents[route.collection])
            found[route.name] = (expected, compare(expected.records, readers.held(route)))
        return found

    def until_done(self, command: Sequence[str]) -> Outcome:
        """Run the command again until it is done, or its report advises another."""
        end = time.monotonic() + COMMAND_LIMIT_S
        while True:
            outcome = self.run(command)
            if outcome.code in DONE or any("run `offramp sync`" in reason for reason in outcome.reasons):
                return outcome
            if outcome.code == exit_codes.REFUSED:
                self.findings.add("refused", f"{' '.join(command)}: exit code 2 at rest: {outcome.err[-800:]}")
                return outcome
            if time.monotonic() > end:
                told = f"{outcome.err[-800:]} {outcome.reasons}"
                self.findings.add("hang", f"{' '.join(command)}: not done at rest: {told}")
                return outcome
            time.sleep(1)

    def look_for_secrets(self) -> None:
        """Note each file with the planted secret in it."""
        for path in self.folder.rglob("*"):
            if path.is_file() and path.parent.name != self.case.wishes.own and SECRET.encode() in path.read_bytes():
                self.findings.add("secret", f"{path.relative_to(self.folder)} holds the planted secret")

    def keep(self, kept: Path) -> None:
        """Write the log, and move the folder there if something was found; it is removed otherwise."""
        proxy_log = sorted(line for proxy in self.place.proxies.values() for line in proxy.log)
        (self.folder / "history.log").write_text("\n".join([*self.log, "", *proxy_log]) + "\n")
        if not self.findings.by_class:
            shutil.rmtree(self.folder, ignore_errors=True)
            return
        texts = [f"{kind}: {text}" for kind, found in self.findings.by_class.items() for text in found]
        (self.folder / "findings.txt").write_text("\n\n".join(texts) + "\n")
        shutil.rmtree(kept / self.folder.name, ignore_errors=True)
        shutil.move(self.folder, kept / self.folder.name)


@dataclass
class Result:
    """What became of an iteration."""

    seed: int
    verdict: str
    findings: Mapping[str, list[str]]
    seconds: float
    targets: Sequence[str] = ()
    forms: Sequence[str] = ()
    runner: str = ""
    disturbances: Sequence[str] = ()
    commands: int = 0
