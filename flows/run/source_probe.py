"""What the source of a plan can do, for `offramp check --probe`: each ability tried once, and nothing written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

from flows.connect.stores import open_source
from flows.plan.model import Plan, Route
from flows.quantities import counted
from flows.reporting.text import table
from stores.mongodb.probe import ProbedAbility


@dataclass(frozen=True, slots=True)
class SourceProbe:
    """The source's server, and each ability that was tried."""

    source: str
    """Its product, version, hosts and database."""
    collection: str
    """What it was tried on."""
    abilities: Sequence[ProbedAbility]
    notes: Sequence[str]
    """What offramp does otherwise because of what the server is."""


def probe_source(plan: Plan, routes: Sequence[Route]) -> SourceProbe:
    """Return what the source can do, tried on the collection of the first route; raises what reading it raises."""
    collection = routes[0].collection
    with open_source(plan) as source:
        described = source.flavour(at_once=True).describe()
        return SourceProbe(
            f"{described} at {source.hosts()}, database {plan.source.database}",
            collection,
            source.probe(collection),
            source.differences(),
        )


def as_lines(probed: SourceProbe, width: int | None) -> Iterator[str]:
    """Yield the source, a table of its abilities, and the notes."""
    yield f"source  {probed.source}"
    yield f"tried on {probed.collection}; nothing was written"
    yield ""
    rows = [
        {
            "ability": each.ability,
            "answer": each.answer,
            "expected": {True: "yes", False: "no", None: ""}[each.expected] + (" <- differs" if each.differs else ""),
            "detail": each.detail,
        }
        for each in probed.abilities
    ]
    yield from table(rows, left=("ability", "answer", "expected", "detail"), width=width, spare=("detail",))
    yield ""
    differing = sum(1 for each in probed.abilities if each.differs)
    if differing:
        yield (
            f"{counted(differing, 'ability differs', 'abilities differ')} from what offramp expects of this server;"
            " name it in source.flavour if it is another product or version"
        )
    yield from probed.notes


def as_json(probed: SourceProbe, plan: Plan) -> Mapping[str, object]:
    """Return the same for machines."""
    return {
        "plan": plan.name,
        "source": probed.source,
        "collection": probed.collection,
        "abilities": [asdict(each) | {"differs": each.differs} for each in probed.abilities],
        "notes": list(probed.notes),
    }
