"""The measurements: each function measures one part and returns its part of the result."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from benchmarks.documents import Size
from benchmarks.processes import Cost
from benchmarks.rig import Documents, Leg, Rig

FEW = 10
"""Documents of the run whose cost is start-up."""
_LEAST_US = 0.1


@dataclass
class Series:
    """Runs of one program, in pairs: over many documents and over few."""

    many: list[Cost] = field(default_factory=list)
    few: list[Cost] = field(default_factory=list)

    def each_us(self, documents: int) -> list[float]:
        """Return CPU microseconds a document, start-up taken off, of each pair."""
        return [
            (many.cpu_s - few.cpu_s) * 1e6 / (documents - FEW) for many, few in zip(self.many, self.few, strict=True)
        ]

    def us(self, documents: int) -> float:
        """Return the median of CPU microseconds a document."""
        return median(self.each_us(documents))

    def rate(self, documents: int) -> float:
        """Return the median of documents a second of wall clock, start-up taken off."""
        return median(
            (documents - FEW) / max(1e-9, many.wall_s - few.wall_s)
            for many, few in zip(self.many, self.few, strict=True)
        )

    @property
    def peak_mb(self) -> float:
        """The median of the most memory held."""
        return median(cost.peak_mb for cost in self.many)

    @property
    def startup_s(self) -> float:
        """The median CPU seconds of a run over few documents."""
        return median(cost.cpu_s for cost in self.few)


Program = Callable[[Documents], Cost]


def syncing(rig: Rig, leg: Leg, documents: int, rounds: int) -> dict[str, Any]:
    """Return what it costs to sync documents of 1 KB that all changed, against what it cost to copy them."""
    found = {"backfill": Series(), "sync": Series()}
    for _ in range(rounds):
        for workload in (Documents(1, FEW), Documents(1, documents)):
            copy = rig.plan(leg, workload)
            costs = {"backfill": rig.backfill(copy)}
            rig.touch(workload)
            costs["sync"] = rig.sync(copy)
            for name, cost in costs.items():
                (found[name].few if workload.number == FEW else found[name].many).append(cost)
    copied, synced = (found[name].us(documents) for name in ("backfill", "sync"))
    return {
        "leg": leg.name,
        "documents": documents,
        "backfill_us": round(copied, 1),
        "sync_us": round(synced, 1),
        "of_backfills_rate": round(copied / max(_LEAST_US, synced), 2),
        "sync_per_cpu_s": round(1e6 / max(_LEAST_US, synced)),
        "sync_per_s": round(found["sync"].rate(documents)),
    }


def alternated(programs: dict[str, Program], size: Size, documents: int, rounds: int) -> dict[str, Series]:
    """Return each program's runs, made in turns, so that a busier moment of the machine meets all alike."""
    found = {name: Series() for name in programs}
    for number in range(rounds):
        order = list(programs) if number % 2 == 0 else list(reversed(programs))
        for name in order:
            found[name].few.append(programs[name](Documents(size, FEW)))
            found[name].many.append(programs[name](Documents(size, documents)))
    return found


def leg_cost(rig: Rig, leg: Leg, size: Size, documents: int, rounds: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what a leg costs against its script and the floor, and what starting each costs."""
    found = alternated(
        {
            "script": lambda workload: rig.script(leg, workload),
            "offramp": lambda workload: rig.backfill(rig.plan(leg, workload)),
            "floor": rig.floor,
        },
        size,
        documents,
        rounds,
    )
    script, offramp = found["script"], found["offramp"]
    named = {"leg": leg.name, "document_kb": size}
    cost = {
        "script_us": round(script.us(documents), 1),
        "offramp_us": round(offramp.us(documents), 1),
        "ratio": _ratio(script, offramp, documents),
        "read_floor_us": round(found["floor"].us(documents), 1),
        "peak_mb": round(offramp.peak_mb),
        "script_peak_mb": round(script.peak_mb),
    }
    startup = {"offramp_s": round(offramp.startup_s, 2), "script_s": round(script.startup_s, 2)}
    return named | cost, named | startup


def _ratio(series: Series, other: Series, documents: int) -> float:
    """Return the median of the pairs' ratios; what is too little to be measured counts as the least that is."""
    pairs = zip(series.each_us(documents), other.each_us(documents), strict=True)
    return round(median(max(_LEAST_US, mine) / max(_LEAST_US, others) for mine, others in pairs), 2)


def memory(rig: Rig, leg: Leg, numbers: Sequence[int]) -> Iterator[dict[str, Any]]:
    """Yield the most memory that a backfill of so many documents held."""
    for number in numbers:
        cost = rig.backfill(rig.plan(leg, Documents(1, number)))
        yield {"documents": number, "peak_mb": round(cost.peak_mb)}


def verification(rig: Rig, leg: Leg, documents: int, rounds: int) -> dict[str, Any]:
    """Return how much CPU a full verification takes for each second that copying took."""
    copying, verifying = Series(), Series()
    for _ in range(rounds):
        for number, copies, passes in (
            (FEW, copying.few, verifying.few),
            (documents, copying.many, verifying.many),
        ):
            plan = rig.plan(leg, Documents(1, number))
            copies.append(rig.backfill(plan))
            passes.append(rig.verify(plan))
    return {"leg": leg.name, "ratio_to_copy": _ratio(verifying, copying, documents)}


def latency(rig: Rig, leg: Leg, documents: int, rounds: int) -> dict[str, Any]:
    """Return the rates of the program with eight writers, and of the script, into a target that answers late."""
    found = alternated(
        {
            "script": lambda workload: rig.script(leg, workload),
            "offramp": lambda workload: rig.backfill(rig.plan(leg, workload, window=8)),
        },
        1,
        documents,
        rounds,
    )
    return {
        "leg": leg.name,
        "docs_s": round(found["offramp"].rate(documents)),
        "script_docs_s": round(found["script"].rate(documents)),
    }


def processes(rig: Rig, leg: Leg, documents: int, rounds: int) -> dict[str, Any]:
    """Return how many times faster two worker processes are than one."""
    found = alternated(
        {
            "one": lambda workload: rig.backfill(rig.plan(leg, workload, runner="processes", workers=1)),
            "two": lambda workload: rig.backfill(rig.plan(leg, workload, runner="processes", workers=2)),
        },
        1,
        documents,
        rounds,
    )
    rates = {name: series.rate(documents) for name, series in found.items()}
    docs_s = {f"{name}_docs_s": round(rate) for name, rate in rates.items()}
    return {"wall_speedup": round(rates["two"] / rates["one"], 2)} | docs_s


def orchestration(rig: Rig, leg: Leg, api: Callable[[], AbstractContextManager[str]], rounds: int) -> dict[str, Any]:
    """Return the share of a run of a minute that the same run takes longer as a Prefect flow, in CPU seconds.

    All that the flow adds counts, its imports too; the Prefect server is up already, as it is for a deployment.
    """
    few = Documents(1, FEW)
    extra: list[float] = []
    with api() as url:
        for _ in range(rounds):
            flow = rig.backfill(rig.plan(leg, few), "--prefect", environment={"PREFECT_API_URL": url})
            extra.append(flow.cpu_s - rig.backfill(rig.plan(leg, few)).cpu_s)
    return {"flow_overhead_share": round(median(extra) / 60, 4), "flow_extra_s": round(median(extra), 2)}
