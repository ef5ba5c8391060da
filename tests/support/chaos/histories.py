"""Histories: what is done with a plan, first at random and then until everything has come to rest."""

from __future__ import annotations

import random
import shutil
import signal
import time
from pathlib import Path

from chaos.commands import Running
from chaos.damage import damage
from chaos.disturbances import Disturbance
from chaos.iteration import COMMAND_LIMIT_S, Iteration, Result
from chaos.judge import BROKEN, Outcome, verdict_of
from chaos.plans import Scope, new_case
from chaos.stand import Stand
from flows import exit_codes

_OVERTAKEN_AFTER_S = 6.5
"""Longer than the lease of 5 s that every plan of a soak has."""


def iterate(stand: Stand, scope: Scope, seed: int, kept: Path) -> Result:
    """Run the iteration of this seed; its folder stays where something is wrong."""
    began = time.monotonic()
    folder = stand.folder / f"seed-{seed}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    chance = random.Random(seed)
    case = new_case(chance, scope, f"soak{seed}")
    with stand.place(case.wishes, folder) as place:
        iteration = Iteration(chance, scope, case, place, folder, stand.code)
        try:
            _history(iteration)
            last = _rest(iteration)
            iteration.look_for_secrets()
            verdict = verdict_of(iteration.findings, last)
        except BaseException:
            iteration.findings.add(BROKEN, "the soak itself failed")
            raise
        finally:
            iteration.keep(kept)
        if not iteration.findings.by_class:
            for route in case.routes:
                place.readers.remove(route)
        if case.wishes.own != "mongodb":  # That one is gone with the folder.
            place.readers.mongodb.drop_database(case.database)
    return Result(
        seed,
        verdict,
        iteration.findings.by_class,
        time.monotonic() - began,
        [_shown(target, case.wishes.flavour, cluster=case.wishes.cluster) for target in case.targets],
        [route.form for route in case.routes],
        str(case.plan["run"]["runner"]),
        iteration.kinds,
        iteration.commands,
    )


def _shown(target: str, flavour: str, *, cluster: bool) -> str:
    if target == "redis":
        return "redis cluster" if cluster else "redis"
    return flavour if target == "elasticsearch" else target


def _history(iteration: Iteration) -> None:
    """Run random commands, disturbed in random ways, while the source changes."""
    chance, scope = iteration.chance, iteration.scope
    level = chance.choice(("none", "full"))
    iteration.run(["backfill", "--verify", level], iteration.drawn(), writing=chance.random() < 0.3)
    for _ in range(chance.randrange(scope.most_steps + 1)):
        if chance.random() < 0.6:
            iteration.change_source(chance.choice((1, 20, 200)))
        _step(iteration, chance.choice(scope.steps), writing=chance.random() < 0.4)


def _step(iteration: Iteration, step: str, *, writing: bool) -> None:
    chance = iteration.chance
    match step:
        case "follow":
            kind = chance.choice(("SIGTERM", "SIGINT", "SIGKILL"))
            stopped = Disturbance(kind, "mongodb", None, chance.uniform(1.5, 5), 0)
            iteration.run(["sync", "--follow"], stopped, writing=True)
        case "verify":
            level = chance.choice(("counts", "sample", "full", "full"))
            iteration.run(["verify", "--level", level], iteration.drawn(), writing=writing)
        case "restart":
            iteration.run(["backfill", "--restart"], iteration.drawn(), writing=writing)
        case "repair":
            options = chance.choice(([], ["--all"], ["--delete-extras"], ["--dry-run"]))
            iteration.run(["repair", *options], iteration.drawn())
        case "retry":
            iteration.run(["rejects", "retry"], iteration.drawn())
        case "takeover":
            _takeover(iteration)
        case command:
            iteration.run([command], iteration.drawn(), writing=writing)


def _takeover(iteration: Iteration) -> None:
    """Stop a command for longer than its lease, let others take over, change the source, and wake it."""
    chance = iteration.chance
    command = chance.choice((["backfill"], ["backfill", "--restart"], ["sync"], ["sync", "--follow"]))
    proxies = [name for name in iteration.place.proxies if name.partition("-")[0] in iteration.case.targets]
    proxy = iteration.place.proxies[chance.choice(proxies)]
    at, whole = int(10 ** chance.uniform(0, 2)), chance.random() < 0.7
    iteration.note(f"{' '.join(command)} · stopped at request {at} of {proxy.name}, overtaken, woken")
    iteration.change_source(200)
    with iteration.program.running(*iteration.arguments(command)) as paused:
        proxy.at_request(at, lambda: paused.send(signal.SIGSTOP, group=whole))
        give_up = time.monotonic() + 8
        while not paused.ended(0.05) and not _is_stopped(paused) and time.monotonic() < give_up:
            pass
        proxy.forget_aims()
        paused.send(signal.SIGSTOP, group=whole)
        if not paused.ended(0):
            iteration.kinds.append("takeover")
            time.sleep(_OVERTAKEN_AFTER_S)
            iteration.change_source(chance.choice((50, 400)))
            iteration.run(["backfill", "--verify", "none"])
            iteration.run(["sync"])
        paused.send(signal.SIGCONT, group=whole)
        if "--follow" in command and not paused.ended(6):
            paused.send(signal.SIGTERM)
        if not paused.ended(COMMAND_LIMIT_S):
            iteration.hung(paused)
            return
        outcome = paused.outcome()
    iteration.judge(outcome, quiet=False)


def _is_stopped(running: Running) -> bool:
    try:
        return Path(f"/proc/{running.process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
    except OSError:
        return False


# --- rest -------------------------------------------------------------------------------------------------------------


def _rest(iteration: Iteration) -> Outcome:
    """Bring everything to its end as the reports advise, and return the last verification."""
    chance = iteration.chance
    first = iteration.until_done(["backfill", "--verify", chance.choice(("none", "full"))])
    if _leads_nowhere(first):
        return first
    synced = iteration.until_done(["sync"])
    if _leads_nowhere(synced):
        return synced
    verified = _verified(iteration, "mismatches after a sync at rest")
    if chance.random() < 0.3 and not iteration.case.wishes.cluster and verified.code in (0, 1):
        verified = _damaged(iteration)
    if verified.report.get("verdict") == "rejects":
        iteration.run(["rejects", "drop", "--all", "--reason", "they are faulty"])
        verified = _verified(iteration, "mismatches after rejects were accepted")
        if verified.code != exit_codes.CLEAN:
            iteration.findings.add("unrepaired", f"all rejects are accepted, and still: {verified.reasons}")
    return verified


def _leads_nowhere(outcome: Outcome) -> bool:
    """Whether the command was refused, or a route of it was stopped for a person to decide."""
    by_route = any(row.get("verdict") == "stopped" for row in outcome.rows)
    return by_route or outcome.code in (exit_codes.REFUSED, exit_codes.STOPPED)


def _verified(iteration: Iteration, complaint: str) -> Outcome:
    verified = iteration.until_done(["verify", "--level", "full"])
    if verified.report.get("verdict") == "mismatches":
        iteration.findings.add("unrepaired", f"{complaint}: {verified.reasons}")
    return verified


def _damaged(iteration: Iteration) -> Outcome:
    """Damage the targets; a verification must find exactly this, and a repair must mend it."""
    iteration.note("damage")
    for route in iteration.case.routes:
        damage(iteration.chance, iteration.place.readers, route)
    iteration.until_done(["verify", "--level", "full"])
    iteration.run(["repair", "--all", "--delete-extras"])
    return _verified(iteration, "mismatches after a repair")
