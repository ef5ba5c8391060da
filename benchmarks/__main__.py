"""``python -m benchmarks``: measures the program, prints a table, or with ``--json`` the same as JSON."""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, get_args

import click

from benchmarks import checks, hand_out, measurements, scale, state_cost
from benchmarks.documents import Size
from benchmarks.measurements import FEW
from benchmarks.rig import LEGS, Documents, Leg, LegName, Rig, changing_rig, null_rig, prefect_api, real_rig
from flows.reporting.text import table
from mappers.native.extension import MODULE

PARTS = (
    "legs",
    "processes",
    "memory",
    "verify",
    "sync",
    "latency_5ms",
    "scale",
    "state",
    "hand_out",
    "orchestration",
    "checks",
)
_LATENCY_MS = 5
_PROCESSES_TIMES = 4
"""Two workers start in the time that so small a collection takes: more of them show what they do."""
_LARGE = 1_000_000
_SCALED_PART = 5
"""A worker that waits 100 ms for each hundred documents needs a while for fewer."""
_SYNCED_PART = 5
"""The embedded source takes long to change as many documents as are copied."""


_STATE_FOR_S = 20.0
_HANDED_OUT = 300


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be measured, and how thoroughly."""

    legs: Sequence[Leg]
    sizes: Sequence[Size]
    documents: int
    rounds: int
    memory: Sequence[int]
    real: bool

    def of_size(self, size: Size) -> int:
        """Return how many documents of this size are copied: the same bytes of each."""
        return max(FEW + 1, self.documents // size)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--json", "as_json", is_flag=True, help="Print JSON, and nothing else, on standard output.")
@click.option("--real", is_flag=True, help="Between the embedded servers, which are slower than the program.")
@click.option("--part", "parts", multiple=True, type=click.Choice(PARTS), help="Only this part; may be repeated.")
@click.option("--leg", "legs", multiple=True, type=click.Choice(get_args(LegName)), help="Only this leg.")
@click.option("--kb", "sizes", multiple=True, type=click.Choice(("1", "10")), help="Only documents of this size.")
@click.option("--documents", type=click.IntRange(min=FEW + 1), default=50_000, show_default=True, help="Of 1 KB.")
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True, help="Runs of each program.")
@click.option("--large", is_flag=True, help=f"Measure the memory of {_LARGE} documents too.")
def main(
    as_json: bool,
    real: bool,
    parts: tuple[str, ...],
    legs: tuple[LegName, ...],
    sizes: tuple[str, ...],
    documents: int,
    rounds: int,
    large: bool,
) -> None:
    """Measure CPU a document, memory and rate of `offramp` against plain scripts and against reading alone.

    Each figure is the median of runs made in turns, start-up taken off and told apart. Without --real the source
    replays, and DynamoDB and Elasticsearch acknowledge at no cost, so that the program is what is measured.
    """
    wanted = Wanted(
        legs=[LEGS[name] for name in legs or get_args(LegName)],
        sizes=[1 if size == "1" else 10 for size in sizes or ("1", "10")],
        documents=documents,
        rounds=rounds,
        memory=[max(FEW + 1, documents // 5), documents * 2, *([_LARGE] if large else [])],
        real=real,
    )
    result: dict[str, Any] = {"machine": machine()}
    for part in PARTS:
        if not parts or part in parts:
            print(f"measuring {part} ...", file=sys.stderr, flush=True)
            with tempfile.TemporaryDirectory(prefix="offramp-benchmark-") as folder:
                result |= _MEASURES[part](wanted, Path(folder))
            if not as_json:
                _print(result, part)
    if as_json:
        print(json.dumps(result, indent=2))


def machine() -> str:
    """Return what the figures were measured on."""
    python = f"Python {platform.python_version()}" + ("" if MODULE is not None else " without the compiled mapper")
    return f"{platform.machine()}, {os.cpu_count()} CPUs, {platform.system()}, {python}"


def _rig(
    wanted: Wanted, folder: Path, numbers: Mapping[Size, Sequence[int]], legs: Sequence[Leg], **null: Any
) -> AbstractContextManager[Rig]:
    collections = [Documents(size, number) for size in numbers for number in dict.fromkeys((FEW, *numbers[size]))]
    return real_rig(folder, collections, legs) if wanted.real else null_rig(folder, collections, legs, **null)


def _legs(wanted: Wanted, folder: Path) -> dict[str, Any]:
    found: list[dict[str, Any]] = []
    startup: list[dict[str, Any]] = []
    with _rig(wanted, folder, {size: [wanted.of_size(size)] for size in wanted.sizes}, wanted.legs) as rig:
        for leg in wanted.legs:
            for size in wanted.sizes:
                cost, start = measurements.leg_cost(rig, leg, size, wanted.of_size(size), wanted.rounds)
                found.append(cost)
                startup.append(start)
    return {"legs": found, "startup": startup}


def _processes(wanted: Wanted, folder: Path) -> dict[str, Any]:
    leg, documents = wanted.legs[0], wanted.documents * _PROCESSES_TIMES
    with _rig(wanted, folder, {1: [documents]}, [leg]) as rig:
        return {"processes": measurements.processes(rig, leg, documents, wanted.rounds)}


def _memory(wanted: Wanted, folder: Path) -> dict[str, Any]:
    leg = wanted.legs[0]
    with _rig(wanted, folder, {1: wanted.memory}, [leg]) as rig:
        return {"memory": list(measurements.memory(rig, leg, wanted.memory))}


def _verify(wanted: Wanted, folder: Path) -> dict[str, Any]:
    with _rig(wanted, folder, {1: [wanted.documents]}, wanted.legs, keep=True) as rig:
        rows = [measurements.verification(rig, leg, wanted.documents, wanted.rounds) for leg in wanted.legs]
    return {"verify": rows}


def _sync(wanted: Wanted, folder: Path) -> dict[str, Any]:
    documents = max(FEW + 1, wanted.documents // _SYNCED_PART)
    with changing_rig(folder, [Documents(1, FEW), Documents(1, documents)], wanted.legs) as rig:
        return {"sync": [measurements.syncing(rig, leg, documents, wanted.rounds) for leg in wanted.legs]}


def _latency(wanted: Wanted, folder: Path) -> dict[str, Any]:
    legs = [leg for leg in wanted.legs if leg.target != "redis"]  # A real server, whose answers nothing delays.
    if wanted.real or not legs:
        return {"latency_5ms": []}
    with _rig(wanted, folder, {1: [wanted.documents]}, legs, latency_ms=_LATENCY_MS) as rig:
        rows = [measurements.latency(rig, leg, wanted.documents, wanted.rounds) for leg in legs]
    return {"latency_5ms": rows}


def _scale(wanted: Wanted, folder: Path) -> dict[str, Any]:
    each = max(FEW + 1, wanted.documents // _SCALED_PART)
    return {"scale": list(scale.scaling(folder, each, wanted.rounds))}


def _state(_: Wanted, folder: Path) -> dict[str, Any]:
    return {"state": list(state_cost.state_cost(folder, _STATE_FOR_S))}


def _hand_out(wanted: Wanted, folder: Path) -> dict[str, Any]:
    return {"hand_out": list(hand_out.handing_out(folder, _HANDED_OUT, wanted.rounds))}


def _orchestration(wanted: Wanted, folder: Path) -> dict[str, Any]:
    leg = wanted.legs[0]
    api = partial(prefect_api, folder / "prefect")
    with _rig(wanted, folder, {1: [FEW]}, [leg]) as rig:
        return {"orchestration": measurements.orchestration(rig, leg, api, wanted.rounds)}


def _checks(_: Wanted, __: Path) -> dict[str, Any]:
    return {"checks": list(checks.checks())}


_MEASURES: Mapping[str, Callable[[Wanted, Path], dict[str, Any]]] = {
    "legs": _legs,
    "processes": _processes,
    "memory": _memory,
    "verify": _verify,
    "sync": _sync,
    "latency_5ms": _latency,
    "scale": _scale,
    "state": _state,
    "hand_out": _hand_out,
    "orchestration": _orchestration,
    "checks": _checks,
}


def _print(result: Mapping[str, Any], part: str) -> None:
    found = result[part]
    rows = found if isinstance(found, list) else [found]
    if part == "legs":
        rows = [
            cost | {name: start[name] for name in ("offramp_s", "script_s")}
            for cost, start in zip(found, result["startup"], strict=True)
        ]
    cells = [{name: str(value) for name, value in row.items()} for row in rows]
    print(f"{part} ({result['machine']})")
    print(*table(cells, left=("leg", "check", "way")), sep="\n", end="\n\n", flush=True)


if __name__ == "__main__":
    main()
