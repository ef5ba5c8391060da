"""The keys of a plan: what may be said, of which type, with which default; their docstrings are the schema's texts."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le

from flows.plan.transforms import PlanTransforms
from stores.mongodb.configuration import Connection as SourceConnection
from stores.throttling.limits import Ceilings, Window, ceilings

Runner = Literal["threads", "processes", "dask", "ray"]
Positive = Annotated[int, Ge(1)]
_RUNNER_PACKAGES: Mapping[str, str] = {"dask": "distributed", "ray": "ray"}


@dataclass(frozen=True)
class Fields:
    """The key `fields` of a route: which fields of a document go along; `_id` always does."""

    keep: Sequence[str] | None = None
    """Only these fields, by dotted path."""
    drop: Sequence[str] | None = None
    """All but these fields, by dotted path."""

    def __post_init__(self) -> None:
        """Refuse both lists at once and a dropped `_id`."""
        if self.keep is not None and self.drop is not None:
            raise ValueError("found keep and drop; write one of them")
        if any(not name for path in (*(self.keep or ()), *(self.drop or ())) for name in path.split(".")):
            raise ValueError("found an empty field name; write dotted paths such as address.city")
        if any(path.partition(".")[0] == "_id" for path in self.drop or ()):
            raise ValueError("drop: _id and its parts cannot be dropped: _id identifies the document in the target")


@dataclass(frozen=True)
class RunKeys:
    """The key `run` of the plan: how the work is done; none of it changes what is copied."""

    runner: Runner = "threads"
    """Who copies partitions: threads of one process, processes of one machine, or the workers of Dask or Ray."""
    workers: Positive = 4
    """Partitions copied at the same time: so many threads, processes or workers."""
    address: str | None = None
    """The Dask scheduler or Ray cluster to use, with the state on PostgreSQL where it is another machine; one of
    `workers` processes is started here by default."""
    window: Positive = 4
    """Batches of a partition in flight at the same time."""
    lease_s: Annotated[float, Ge(5), Le(86_400)] = 60
    """How long a run that died keeps others from its routes."""

    @property
    def processes(self) -> int:
        """The processes that copy at the same time: each keeps to its part of the plan's ceilings."""
        return 1 if self.runner == "threads" else self.workers

    def __post_init__(self) -> None:
        """Refuse a runner that is not installed, and an address where nothing is there to be found."""
        package = _RUNNER_PACKAGES.get(self.runner)
        if package is None and self.address is not None:
            raise ValueError(f"address: is the address of Dask or Ray; with runner: {self.runner} remove it")
        if package is not None and find_spec(package) is None:
            raise ValueError(
                f"runner: {self.runner} is not installed; here and where the workers are, run in offramp's clone:"
                f" {sys.executable} -m pip install -r requirements/{self.runner}.txt"
            )


@dataclass(frozen=True)
class RejectKeys:
    """The key `rejects` of the plan, and of a route, whose keys go before the plan's."""

    documents: bool | None = None
    """Whether the state keeps rejected documents whole, not only their `_id`s; off by default: personal data."""
    most: Annotated[int, Ge(0)] | None = None
    """Rejected documents of a route beyond which it stops; 1,000 by default."""
    share: Annotated[float, Ge(0), Le(1)] | None = None
    """Rejected documents by those read, beyond which a route stops, from 100,000 read on; 0.001 by default."""
    in_a_row: Positive | None = None
    """Documents rejected one after another in a partition, at which its route stops; 100 by default."""
    batch_share: Annotated[float, Ge(0), Le(1)] | None = None
    """Documents of a batch that the target refused, by all of 100 or more, beyond which a route stops; 0.2 by default.
    """


@dataclass(frozen=True)
class VerificationKeys:
    """The key `verification` of the plan: how fast documents may be compared (R159)."""

    max_rate: float | None = None
    """Documents a second that a verification compares at the most, over all routes."""
    windows: Sequence[Window] = ()
    """Hours of the day with a ceiling of their own, their `max_rate`, in place of this one; 0 for none at all."""
    time_zone: str = "UTC"
    """The time zone of `windows`, such as Europe/Berlin."""

    def __post_init__(self) -> None:
        """Refuse ceilings that cannot be kept."""
        self.ceilings()

    def ceilings(self) -> Ceilings:
        """Return how fast documents may be compared."""
        return ceilings(self.windows, self.time_zone, max_rate=self.max_rate)


@dataclass(frozen=True)
class PlanKeys:
    """The keys of a plan."""

    source: SourceConnection
    """Where the documents are."""
    routes: Mapping[str, Any]
    """Collections and where they go; each name is the collection's unless `collection` says another."""
    targets: Mapping[str, Any] = field(default_factory=dict)
    """Connections of the targets the routes use, by target."""
    name: str | None = None
    """The plan's name in the state and in reports; the file's name by default."""
    state: str = "sqlite:///.offramp/state.db"
    """Where checkpoints, rejects and leases are kept: an SQLite file, or a PostgreSQL that several machines share."""
    run: RunKeys = RunKeys()
    """How the work is done."""
    verification: VerificationKeys = VerificationKeys()
    """How fast documents may be compared."""
    rejects: RejectKeys = RejectKeys()
    """What is kept of rejected documents, and how many a route may have before it stops."""


@dataclass(frozen=True)
class RouteKeys:
    """The keys every route may have, whatever its target and mapper."""

    use_case: str | None = None
    """What the collection is used for; picks target and mapper."""
    target: str | None = None
    """The target, where `use_case` does not pick it."""
    mapper: str | None = None
    """The mapper, where `use_case` does not pick it."""
    use: str | None = None
    """A mapper of your own: file.py:function, the file beside the plan."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Options for your own mapper's function."""
    collection: str | None = None
    """The collection or view; the route's name by default."""
    where: Mapping[str, Any] = field(default_factory=dict)
    """Only documents that match this MongoDB query; dates and ObjectIds as Extended JSON."""
    fields: Fields = Fields()
    """Which fields of each document go along."""
    transforms: PlanTransforms = ()
    """What is done to each document after `fields` and before its mapper, in this order."""
    sync: Literal["stream", "rescan", "watermark"] = "stream"
    """How a sync finds what changed: by the source's ``stream`` of changes; by a ``rescan`` of every document, where a
    source has none; or by the date in `watermark`, which cannot tell deletes."""
    watermark: str | None = None
    """With `sync: watermark`: the date field, by dotted path, that every write sets to its time."""
    partitions: Positive | None = None
    """Parts the collection is split in; chosen by its size by default."""
    allow_empty: bool = False
    """Whether a route for which nothing could be compared may be called clean: an empty collection, say."""
    accept_loss: Sequence[str] = ()
    """Losses that still count as clean: a kind (score_rounded), a field, or field:kind (docs/values.md)."""
    rejects: RejectKeys | None = None
    """What is kept of rejected documents and how many there may be, where not as the plan's own `rejects` say."""

    def __post_init__(self) -> None:
        """Refuse a way of syncing without its field, and a field without its way."""
        if self.sync == "watermark" and not all((self.watermark or "").split(".")):
            raise ValueError("watermark: is missing; sync: watermark needs a date field that every write sets")
        if self.sync != "watermark" and self.watermark is not None:
            raise ValueError(
                f"watermark: needs sync: watermark, but the route says sync: {self.sync}; change one of them"
            )
