"""`python -m chaos`: a soak for the time asked, or the iterations of given seeds."""

from __future__ import annotations

import argparse
import itertools
import json
import random
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from chaos.documents import found_in
from chaos.histories import iterate
from chaos.iteration import Result
from chaos.judge import BAD, BROKEN
from chaos.plans import Scope
from chaos.stand import Stand, started


def main() -> None:
    """Run the soak; ends with 1 if an iteration was wrong."""
    # Where a shell starts the soak in the background, its commands would ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    chosen = _parser().parse_args()
    given = {"opensearch": chosen.opensearch_port} if chosen.opensearch_port else {}
    seed = chosen.seed if chosen.seed is not None else random.SystemRandom().randrange(10**6) * 1000
    chosen.out.mkdir(parents=True, exist_ok=True)
    tally = Tally(seed)
    with (
        tempfile.TemporaryDirectory(prefix="chaos-") as scratch,
        started(Path(scratch), chosen.code, cluster=True, given=given) as stand,
    ):
        _soak(stand, _scope(chosen), chosen, tally)
    tally.tell(now=True)
    counts = json.dumps(tally.as_json(), indent=2)
    (chosen.out / "tally.json").write_text(counts + "\n")
    print(counts)
    sys.exit(1 if any(tally.counts["class"][kind] for kind in BAD) else 0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=None, help="of the first iteration; the next has the next number")
    parser.add_argument("--iterations", type=int, default=None, help="end after so many, whatever the time")
    parser.add_argument("--jobs", type=int, default=2, help="iterations at the same time")
    parser.add_argument("--code", type=Path, default=None, help="folder of another version of the code to try")
    parser.add_argument("--out", type=Path, default=Path("chaos-results"), help="where folders of findings are kept")
    parser.add_argument("--documents", type=Path, default=None, help="folder of Extended JSON, one document a line")
    for name in ("targets", "runners", "steps", "disturbances"):
        parser.add_argument(f"--{name}", nargs="+", default=None, help="draw from these alone")
    parser.add_argument("--opensearch-port", type=int, default=None, help="of a real node that runs already")
    return parser


def _scope(chosen: argparse.Namespace) -> Scope:
    narrowed: dict[str, Any] = {
        name: tuple(value) for name, value in vars(chosen).items() if name in Scope.__annotations__ and value
    }
    if chosen.opensearch_port:
        narrowed["opensearch"] = 0.8
    return Scope(cluster=True, found=found_in(chosen.documents) if chosen.documents else (), **narrowed)


def _soak(stand: Stand, scope: Scope, chosen: argparse.Namespace, tally: Tally) -> None:
    """Run iterations until the time is over, so many are done, or Ctrl-C; those at work are finished."""
    end = time.monotonic() + chosen.minutes * 60
    seeds = itertools.count(tally.seed)
    last = None if chosen.iterations is None else tally.seed + chosen.iterations
    working: set[Future[Result]] = set()
    with ThreadPoolExecutor(chosen.jobs) as pool:
        try:
            for seed in itertools.takewhile(lambda seed: seed != last and time.monotonic() < end, seeds):
                working.add(pool.submit(_tried, stand, scope, seed, chosen.out.resolve()))
                while len(working) >= chosen.jobs:
                    working = tally.wait(working)
        except KeyboardInterrupt:
            print("ends when the iterations at work are done", flush=True)
        while working:
            working = tally.wait(working)


def _tried(stand: Stand, scope: Scope, seed: int, kept: Path) -> Result:
    try:
        return iterate(stand, scope, seed, kept)
    except Exception:  # noqa: BLE001 - a fault of the soak itself is counted, and the next iteration begins
        return Result(seed, BROKEN, {BROKEN: [traceback.format_exc()]}, 0)


class Tally:
    """Counts of iterations."""

    def __init__(self, seed: int) -> None:
        """Begin at nothing."""
        self.seed = seed
        self.counts: dict[str, Counter[str]] = {
            name: Counter() for name in ("class", "noted", "target", "form", "runner", "disturbance")
        }
        self.iterations = self.commands = 0
        self.findings: list[dict[str, Any]] = []
        self._began = self._told = time.monotonic()

    def add(self, result: Result) -> None:
        """Count an iteration; print it if something is wrong."""
        self.iterations += 1
        self.commands += result.commands
        self.counts["class"][result.verdict] += 1
        self.counts["noted"].update(result.findings.keys() - {result.verdict})
        self.counts["target"].update(result.targets)
        self.counts["form"].update(result.forms)
        self.counts["runner"][result.runner] += 1
        self.counts["disturbance"].update(result.disturbances)
        if result.findings:
            self.findings.append({"seed": result.seed, "class": result.verdict, "found": dict(result.findings)})
        for kind, texts in result.findings.items():
            print(f"seed {result.seed}: {kind}: {texts[0][:1500]}", flush=True)
        if result.verdict in BAD:
            print(
                f"seed {result.seed} is {result.verdict}; to replay: make chaos SEED={result.seed} ITERATIONS=1",
                flush=True,
            )

    def wait(self, working: set[Future[Result]]) -> set[Future[Result]]:
        """Wait some seconds for an iteration, count those that are done, and return the others."""
        done, others = wait(working, timeout=5, return_when=FIRST_COMPLETED)
        for each in done:
            self.add(each.result())
        self.tell()
        return others

    def tell(self, *, now: bool = False) -> None:
        """Print a line if a minute has passed since the last."""
        if not now and time.monotonic() - self._told < 60:
            return
        self._told = time.monotonic()
        minutes = (self._told - self._began) / 60
        classes = ", ".join(f"{number} {kind}" for kind, number in sorted(self.counts["class"].items()))
        print(f"{minutes:5.1f} min: {self.iterations} iterations ({classes}), {self.commands} commands", flush=True)

    def as_json(self) -> dict[str, Any]:
        """Return the counts."""
        return {
            "seed": self.seed,
            "iterations": self.iterations,
            "commands": self.commands,
            "minutes": round((time.monotonic() - self._began) / 60, 1),
            **{name: dict(counts.most_common()) for name, counts in self.counts.items()},
            "findings": self.findings,
        }


if __name__ == "__main__":
    main()
