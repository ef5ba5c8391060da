"""One iteration: a random plan, a random history of commands and disturbances, rest, and the judge."""

from __future__ import annotations

import random
import shutil
import signal
import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from chaos import disturbances
from chaos.commands import Program, Running
from chaos.disturbances import NONE, Disturbance
from chaos.judge import Comparison, Findings, Outcome, compare, judge_claim, judge_ending, verdict_of
from chaos.plans import Case, Scope, fill, new_case
from chaos.proxy import Proxy
from chaos.routes import Expected
from chaos.source_writer import Writer, change
from chaos.stand import SECRET, Addresses, Stand
from flows import exit_codes

COMMAND_LIMIT_S = 240.0
LATE_S = 10.0


@dataclass
class Result:
    """What became of an iteration."""

    seed: int
    verdict: str
    findings: Mapping[str, list[str]]
    seconds: float
    targets: list[str] = field(default_factory=list)
    forms: list[str] = field(default_factory=list)
    runner: str = ""
    disturbances: list[str] = field(default_factory=list)
    commands: int = 0


class Iteration:
    """An iteration at work."""

    def __init__(self, stand: Stand, scope: Scope, seed: int, folder: Path, proxies: Mapping[str, Proxy]) -> None:
        """Draw the plan and make its collections."""
        self.stand, self.proxies, self.folder = stand, proxies, folder
        self.chance = random.Random(seed)
        self.findings = Findings()
        self.log: list[str] = []
        self.kinds: list[str] = []
        self.commands = 0
        self.quiet = True
        """Whether nothing has written to the source since the last command began."""
        self.damaged = False
        names = ["c0", "c1"][: self.chance.choice((1, 1, 2))]
        documents = {name: int(scope.most_documents * self.chance.random() ** 2) + 1 for name in names}
        self.case: Case = new_case(self.chance, scope, f"soak{seed}", documents)
        fill(self.chance, stand.readers, self.case, documents)
        self.scope = scope
        self.plan = folder / "plan.yaml"
        plan = dict(self.case.plan)
        scope.edit(plan)
        self.plan.write_text(yaml.safe_dump(plan, sort_keys=False, allow_unicode=True))
        self.program = Program(folder, Addresses(proxies).environment(), stand.code)
        self.database = stand.readers.mongodb[self.case.database]

    def note(self, text: str) -> None:
        """Add a line to the iteration's log."""
        self.log.append(f"{time.strftime('%H:%M:%S', time.gmtime())} {text}")

    # --- commands -----------------------------------------------------------------------------------------------------

    def run(self, command: list[str], disturbance: Disturbance = NONE, *, writing: bool = False) -> Outcome:
        """Run a command to its end, disturbed, and judge it by itself and by what it claims."""
        arguments = [*command[:1], str(self.plan), *command[1:], "--json"]
        if command[0] == "rejects":
            arguments = [*command[:2], str(self.plan), *command[2:], "--json"]
        self.note(f"{' '.join(command)} · {disturbance}{' · writing' if writing else ''}")
        self.kinds.append(disturbance.kind)
        self.commands += 1
        writer = Writer(random.Random(self.chance.random()), self.database, self.case.shapes)
        with writer if writing else nullcontext(), self.program.running(*arguments) as running:
            ended = disturbances.watch(running, disturbance, self.stand, self.proxies, COMMAND_LIMIT_S)
            if not ended:
                self._hung(running)
            outcome = running.outcome()
        if ended:
            self._judge(outcome, quiet=not writing)
        return outcome

    def _hung(self, running: Running) -> None:
        running.send(signal.SIGABRT)
        running.ended(10)
        running.kill()
        self.findings.add(
            "hang", f"{' '.join(running.command)}: no end within {COMMAND_LIMIT_S:.0f} s; see {running.err}"
        )

    def _judge(self, outcome: Outcome, *, quiet: bool) -> None:
        self.note(f"  exit code {outcome.code}, verdict {outcome.report.get('verdict')} {outcome.error}")
        judge_ending(outcome, exit_codes.OF_VERDICT, self.findings)
        late = outcome.stopped_within_s or 0
        if outcome.signal in (signal.SIGTERM, signal.SIGINT) and late > LATE_S:
            self.findings.add("late", f"{' '.join(outcome.command)}: obeyed a signal after {late:.0f} s")
        if quiet and any("verdict" in row for row in outcome.report.get("routes", []) if isinstance(row, dict)):
            self.scope.meddle(self.stand.readers, self.case)
            for name, (expected, found) in self.compared().items():
                judge_claim(outcome, name, expected, found, self.findings, quiet=quiet)

    def compared(self) -> dict[str, tuple[Expected, Comparison]]:
        """Return for each route what it must hold, and how what it holds differs."""
        readers = self.stand.readers
        documents = {name: readers.documents(self.case.database, name) for name in self.case.shapes}
        found = {}
        for route in self.case.routes:
            expected = route.expected(documents[route.collection])
            found[route.name] = (expected, compare(expected.records, readers.held(route)))
        return found

    # --- the history --------------------------------------------------------------------------------------------------

    def history(self) -> None:
        """Run random commands, disturbed in random ways, while the source changes."""
        chance = self.chance
        self.run(
            ["backfill", "--verify", chance.choice(("none", "full"))], self._drawn(), writing=chance.random() < 0.3
        )
        for _ in range(chance.randrange(self.scope.most_steps + 1)):
            step = chance.choice(self.scope.steps)
            writing = chance.random() < 0.4
            if chance.random() < 0.6:
                change(chance, self.database, self.case.shapes, chance.choice((1, 20, 200)))
            match step:
                case "backfill":
                    self.run(["backfill"], self._drawn(), writing=writing)
                case "sync":
                    self.run(["sync"], self._drawn(), writing=writing)
                case "follow":
                    self.follow()
                case "verify":
                    level = chance.choice(("counts", "sample", "full", "full"))
                    self.run(["verify", "--level", level], self._drawn(), writing=writing)
                case "restart":
                    self.run(["backfill", "--restart"], self._drawn(), writing=writing)
                case "repair":
                    self.run(["repair", *chance.choice(([], ["--all"], ["--delete-extras"]))], self._drawn())
                case "retry":
                    self.run(["rejects", "retry"], self._drawn())
                case "takeover":
                    self.takeover()

    def _drawn(self) -> Disturbance:
        return disturbances.drawn(self.chance, self.case.targets, self.scope.disturbances)

    def follow(self) -> None:
        """Run `sync --follow` under a writer until a signal ends it."""
        kind = self.chance.choice(("SIGTERM", "SIGINT", "SIGKILL"))
        self.run(
            ["sync", "--follow"],
            Disturbance(kind, "mongodb", None, self.chance.uniform(1.5, 5), 0),
            writing=True,
        )

    def takeover(self) -> None:
        """Stop a command for longer than its lease, let others take over, change the source, and wake it."""
        chance = self.chance
        command = chance.choice((["backfill"], ["backfill", "--restart"], ["sync"], ["sync", "--follow"]))
        proxy = self.proxies[chance.choice(list(self.case.targets))]
        at = int(10 ** chance.uniform(0, 2))
        self.note(f"{' '.join(command)} · stopped at request {at} of {proxy.name}, overtaken, woken")
        self.kinds.append("takeover")
        change(chance, self.database, self.case.shapes, 200)
        with self.program.running(*command[:1], str(self.plan), *command[1:], "--json") as paused:
            proxy.at_request(at, lambda: paused.send(signal.SIGSTOP))
            give_up = time.monotonic() + 8
            while not paused.ended(0.05) and not _is_stopped(paused) and time.monotonic() < give_up:
                pass
            proxy.forget_aims()
            if not _is_stopped(paused):
                paused.send(signal.SIGSTOP)
            if not paused.ended(0):
                time.sleep(6.5)  # Its lease of 5 s has expired.
                change(chance, self.database, self.case.shapes, chance.choice((50, 400)))
                self.run(["backfill", "--verify", "none"])
                self.run(["sync"])
            paused.send(signal.SIGCONT)
            if "--follow" in command and not paused.ended(6):
                paused.send(signal.SIGTERM)
            if not paused.ended(COMMAND_LIMIT_S):
                self._hung(paused)
                return
            outcome = paused.outcome()
        judge_ending(outcome, exit_codes.OF_VERDICT, self.findings)
        self.note(f"  the woken one: exit code {outcome.code} {outcome.error}")

    # --- rest ---------------------------------------------------------------------------------------------------------

    def rest(self) -> Outcome:
        """Bring everything to its end as the messages advise, and return the last verification."""
        first = self.until_done(["backfill", "--verify", self.chance.choice(("none", "full"))])
        if first.code == 2:
            return first
        synced = self.until_done(["sync"])
        if synced.code == 2:
            return synced
        verified = self.until_done(["verify", "--level", "full"])
        if verified.report.get("verdict") == "mismatches":
            self.findings.add("unrepaired", f"mismatches after a sync at rest: {_reasons(verified)}")
        return verified

    def until_done(self, command: list[str]) -> Outcome:
        """Run the command again until it is done: exit code 0 or 1."""
        end = time.monotonic() + COMMAND_LIMIT_S
        while True:
            outcome = self.run(command)
            if outcome.code in (exit_codes.CLEAN, exit_codes.NOT_CLEAN, exit_codes.STOPPED) or any(
                "run `offramp sync`" in reason for reason in _reasons(outcome)
            ):
                return outcome
            if outcome.code == 2:
                self.findings.add("refused", f"{' '.join(command)}: exit code 2 at rest: {outcome.err[-800:]}")
                return outcome
            if time.monotonic() > end:
                self.findings.add(
                    "hang", f"{' '.join(command)}: not done at rest: {outcome.err[-800:]} {_reasons(outcome)}"
                )
                return outcome
            time.sleep(1)

    def look_for_secrets(self) -> None:
        """Note each file with the planted secret in it."""
        for path in self.folder.rglob("*"):
            if path.is_file() and SECRET.encode() in path.read_bytes():
                self.findings.add("secret", f"{path.relative_to(self.folder)} holds the planted secret")


def _reasons(outcome: Outcome) -> list[str]:
    rows = outcome.report.get("routes", [])
    return [f"{row.get('route')}: {reason}" for row in rows for reason in row.get("reasons", ())]


def _is_stopped(running: Running) -> bool:
    try:
        return Path(f"/proc/{running.process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
    except OSError:
        return False


def iterate(stand: Stand, scope: Scope, seed: int, kept: Path) -> Result:
    """Run the iteration of this seed; its folder stays where something is wrong."""
    began = time.monotonic()
    folder = stand.folder / f"seed-{seed}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with stand.proxies() as proxies:
        iteration = Iteration(stand, scope, seed, folder, proxies)
        try:
            iteration.history()
            last = iteration.rest()
            iteration.look_for_secrets()
        finally:
            proxy_log = [line for proxy in proxies.values() for line in proxy.log]
            (folder / "history.log").write_text("\n".join([*iteration.log, "", *sorted(proxy_log)]) + "\n")
    case, findings = iteration.case, iteration.findings
    verdict = verdict_of(findings, last)
    if findings.by_class:
        texts = [f"{kind}: {text}" for kind, found in findings.by_class.items() for text in found]
        (folder / "findings.txt").write_text("\n\n".join(texts) + "\n")
        shutil.move(folder, kept / folder.name)
    else:
        shutil.rmtree(folder)
    stand.readers.mongodb.drop_database(case.database)
    return Result(
        seed,
        verdict,
        findings.by_class,
        time.monotonic() - began,
        list(case.targets),
        [route.form for route in case.routes],
        str(case.plan["run"]["runner"]),
        iteration.kinds,
        iteration.commands,
    )
