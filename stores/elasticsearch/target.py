"""Elasticsearch, or OpenSearch, as a target: one route's documents are one index, or one index for each period."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Lock
from typing import Any, ClassVar
from urllib.parse import quote

from mappers.elasticsearch.date_indices import Periods
from mappers.elasticsearch.records import IndexDocument
from stores.contract.fence import Fence, TargetFence
from stores.contract.target import (
    Auditable,
    Converting,
    Countable,
    Describable,
    Fenced,
    Identified,
    Inspectable,
    Listable,
    Place,
    Plannable,
    Publishable,
    Rejected,
    Removable,
    ScratchArea,
    ScratchAreas,
    Tunable,
)
from stores.elasticsearch import configuration
from stores.elasticsearch.aliases import PublicName
from stores.elasticsearch.bulk import NO_PIPELINE
from stores.elasticsearch.client import Cluster
from stores.elasticsearch.documents import Documents
from stores.elasticsearch.index import IndexPlan, settings
from stores.elasticsearch.ingest import simulated
from stores.elasticsearch.inspection import (
    create,
    exists,
    inspect,
    path,
    refuse_mapping,
    require_pipeline,
    server_version,
)
from stores.elasticsearch.places import Places
from stores.elasticsearch.spots import Spot, unfit
from stores.errors import LeaseLost, PermanentError, PlanError
from stores.throttling.backoff import TIMING, Timing
from stores.throttling.rate_limiter import Paced, pace

_CHECK_DEADLINE_S = 10.0
_SERVING_DEADLINE_S = 60.0


class ElasticsearchTarget(
    Auditable,
    Converting,
    Countable,
    Describable,
    Fenced,
    Identified,
    Inspectable,
    Listable,
    Paced,
    Plannable,
    Publishable,
    Removable,
    ScratchAreas,
    Tunable,
):
    """One index of an Elasticsearch 8 or 9, or OpenSearch 2 or 3, cluster.

    Elasticsearch makes a missing index anew, with a guessed mapping, for whoever writes to it. So each `write` and
    `delete` compares the index's UUID after its last acknowledgement with the one it began with: an index deleted
    while it was written to is an error before anything counts as held.
    """

    lists_once: ClassVar[bool] = True
    """A listing is of one moment: a point in time, or a scroll."""
    BUILT_IN: ClassVar[frozenset[str]] = frozenset(("routing",))
    """A mapper of one's own could put one id under two routings, which no listing of ids would show (R85)."""
    Connection = configuration.Connection
    Placement = configuration.Placement

    def __init__(
        self,
        connection: configuration.Connection,
        placement: configuration.Placement,
        route: str,
        *,
        timing: Timing = TIMING,
    ) -> None:
        """Take the names, without connecting; raises ValueError for options that cannot be served."""
        name = placement.index if placement.index is not None else connection.index_prefix + route
        self._placement = placement
        self._fence = TargetFence()
        self._cluster = Cluster(connection, timing=timing)
        self.pace = pace(self._cluster.name, connection.ceilings(), timing=timing)
        self._periods = Periods.parse(placement.index, placement.undated_index)
        names = [name] if self._periods is None else self._periods.examples()
        if self._periods is not None and placement.alias is not None and self._periods.owns(placement.alias):
            raise ValueError("alias: is the name of one of the route's own indices; choose another")
        for index_name in names:
            self._plan = IndexPlan(index_name, placement, opensearch=self._cluster.opensearch)
        self._places = Places(self._periods, routed=placement.routing is not None)
        self._deadline_s = connection.retry_deadline_s
        self._check_s = min(self._deadline_s, _CHECK_DEADLINE_S)
        self._public = name
        self._name = name
        self._ready: dict[str, Documents] = {}
        self._lock = Lock()
        # Briefly: a cluster that is away when a run ends has been waited for already, and the next run puts it right.
        self._brief_s = min(self._deadline_s, _SERVING_DEADLINE_S)
        self._public_name = PublicName(self._cluster, name, placement, self._fence, self._brief_s)
        self._designed = False

    @classmethod
    def scratch_areas(cls, name: str, /) -> Sequence[ScratchArea]:
        """Return the areas that a canary of this name may use."""
        return (ScratchArea("document", {"index": name}),)

    @property
    def records(self) -> tuple[type[IndexDocument], ...]:
        """The record types it holds."""
        return (IndexDocument,)

    @property
    def territory(self) -> str:
        """The index, or all its versions or periods."""
        if self._periods is not None:
            return self._periods.before
        return self._public + ("__" if self._placement.versioned else "\0")

    def describe_place(self) -> str:
        """Return the index, or how the names of the route's indices begin."""
        if self._periods is not None:
            return f"indices {self._periods.before}*"
        return f"indices {self._public}__*" if self._placement.versioned else f"index {self._public}"

    def describe_server(self) -> str:
        """Return the product and version of the cluster."""
        return self._product(server_version(self._cluster, self._check_s))

    def _product(self, version: tuple[int, int]) -> str:
        return f"{'OpenSearch' if self._cluster.opensearch else 'Elasticsearch'} {version[0]}.{version[1]}"

    def set_fence(self, fence: Fence, /) -> None:
        """Look at this fence before each request that changes an index, its documents or an alias."""
        self._fence.set(fence)

    def _known(self) -> str:
        """Return the index's name; raises PlanError where it is that of a version no design has chosen."""
        if self._placement.versioned and self._name == self._public:
            raise PlanError(
                "E-ES-VERSION",
                f"this state has not copied the route, so its version of {self._public} is unknown; run backfill"
                " first, or name the version itself in `index`",
            )
        return self._name

    def _indices(self, deadline_s: float | None = None) -> Sequence[str]:
        """Return the index; where they are made by date those that there are."""
        if self._periods is None:
            return [self._known()]
        target = f"/{quote(self._periods.wildcard, safe='*')}/_settings/index.uuid?expand_wildcards=all"
        found = self._cluster.ask(
            "GET", target, deadline_s=self._deadline_s if deadline_s is None else deadline_s
        ).part()
        return sorted(name for name in found if self._periods.owns(name))

    # --- the design ---------------------------------------------------------------------------------------------------

    @property
    def mapped(self) -> bool:
        """Whether the plan has a mapping of its own."""
        return bool(self._placement.mapping)

    def design(self, wishes: Mapping[str, Any], /) -> Mapping[str, Any]:
        """Return the mapper's design with the index it is for: the next version where they are versioned."""
        if not self._placement.versioned:
            return wishes
        with _before_writing():
            server_version(self._cluster, self._check_s)
            return {**wishes, "index": self._public_name.next_version()}

    def follow(self, design: Mapping[str, Any], /) -> None:
        """Use the index of this design from now on."""
        self._plan = self._plan.following(design)
        self._name = self._public if self._periods is not None else self._plan.name
        self._designed = True

    # --- making ready -------------------------------------------------------------------------------------------------

    def check(self) -> Sequence[str]:
        """Return what a person should know; raises PlanError for another product or an index the plan does not fit."""
        notes: list[str] = [*self._cluster.transport_notes()]
        with _before_writing():
            version = server_version(self._cluster, self._check_s)
            if self._placement.pipeline is not None:
                require_pipeline(self._cluster, self._placement.pipeline, self._check_s)
            described: list[Mapping[str, Any] | None] = []
            if self._placement.versioned:
                notes += filter(None, [self._public_name.check()])
            else:
                undecided = not self._designed
                described = [self._inspect(index, version, undecided=undecided) for index in self._indices()]
            if not described or None in described:
                refuse_mapping(self._cluster, self._plan, version, self._check_s)
        if any(self._plan.unreplicated(each) for each in described or [None]):
            notes.append(f"index {self._name} has no replicas: the loss of one node loses documents")
        elif self._placement.load_replicas == 0:
            text = "has no replicas while copying: the loss of one node meanwhile loses documents"
            notes.append(f"index {self._name} {text}")
        return tuple(notes)

    def inspect_place(self) -> Place:
        """Return which product answers, and whether the index exists."""
        with _before_writing():
            version = server_version(self._cluster, self._check_s)
            asked = ["GET /"]
            there: bool | None = None
            if self._periods is None and (self._designed or not self._placement.versioned):
                there = exists(self._cluster, self._name, self._check_s)
                asked.append(f"GET /{self._name}")
        server = f"{self._product(version)} at {self._cluster.name}"
        return Place(server, f"index {self._name}", there, asked)

    def prepare(self) -> str:
        """Make the index unless it is there, and return its UUID; raises PlanError if it does not fit the plan.

        Where indices are made by date those that are there must fit; the others are made as documents come for them,
        and there is no one identity to return.
        """
        with _before_writing():
            version = server_version(self._cluster, self._check_s)
            if self._placement.pipeline is not None:
                require_pipeline(self._cluster, self._placement.pipeline, self._check_s)
            uuids = [self._make_ready(index, version) for index in self._indices()]
        return uuids[0] if self._periods is None else ""

    def identity(self) -> str | None:
        """Return the UUID of the index, None where there is none; "" where indices are made by date."""
        if self._periods is not None:
            return ""
        with _before_writing():
            found = self._inspect(self._known(), server_version(self._cluster, self._check_s))
        return None if found is None else str(settings(found)["uuid"])

    def restore(self) -> None:
        """The index has its settings from before the load, if it is there."""
        if not self._placement.versioned or self._designed:
            for index in self._indices(self._brief_s):
                self._public_name.restore(index)

    def publish(self) -> str:
        """Readers of the route's index see what was copied; returns how."""
        if self._periods is not None:
            return self._placement.alias or self._periods.wildcard
        if not self._placement.versioned:
            return self._name
        return self._public_name.publish(self._known())

    def audit(self) -> Sequence[str]:
        """Return why readers would not find all that the index holds."""
        indices = self._indices()
        faults = [fault for index in indices for fault in self._public_name.audit(index)]
        for index in indices:
            try:
                if self._inspect(index, server_version(self._cluster, self._check_s)) is None:
                    faults.append(f"there is no index {index}")
            except PlanError as error:  # Its mapping or a setting is not as it was made.
                faults.append(error.message)
        return tuple(faults)

    def _make_ready(self, index: str, version: tuple[int, int]) -> str:
        """The index is there as planned, with its settings for the load; returns its UUID."""
        found = self._inspect(index, version)
        if found is None:
            create(self._cluster, self._plan, index, version, self._check_s, self._fence)
            # Read back: an index template may have added what the plan does not bear (R90, R91).
            found = self._inspect(index, version)
        if found is None:
            text = f"index {index} was deleted as soon as it was created; find out who deleted it"
            raise PlanError("E-ES-NOINDEX", f"{text}, then start over with backfill --restart")
        self._public_name.tune(index, found)
        uuid = str(settings(found)["uuid"])
        documents = self._of(index)
        documents.know(uuid)
        self._ready[index] = documents
        return uuid

    # --- the documents ------------------------------------------------------------------------------------------------

    def write(self, records: Sequence[IndexDocument], /) -> Sequence[Rejected]:
        """Write the records, of an id the last; return those that the cluster refused.

        Should the last of an id be refused, the one before it is written, as if one had followed the other.
        """
        rejected: list[Rejected] = []
        places: dict[str, dict[Spot, list[int]]] = {}
        for place, record in enumerate(records):
            spot = Spot(record.id, record.routing)
            if refusal := self._places.misplaced(record) or unfit(spot, record.source):
                rejected.append(Rejected(place, *refusal))
            else:
                places.setdefault(record.index or self._known(), {}).setdefault(spot, []).append(place)
        for index, waiting in places.items():
            documents = self._writable(index)
            while waiting:
                refused = documents.write({spot: records[of[-1]].source for spot, of in waiting.items()})
                rejected += [Rejected(waiting[spot].pop(), *refusal) for spot, refusal in refused.items()]
                waiting = {spot: waiting[spot] for spot in refused if waiting[spot]}
        return sorted(rejected, key=lambda refusal: refusal.index)

    def delete(self, addresses: Sequence[str], /) -> None:
        """Delete the documents at these addresses."""
        for index, spots in self._spots(addresses).items():
            with self._maybe_absent():
                (self._writable(index) if self._periods is None else self._of(index)).delete(spots)

    def read(self, addresses: Sequence[str], /) -> Mapping[str, IndexDocument]:
        """Return the documents held now, refreshed or not (R88)."""
        records: dict[str, IndexDocument] = {}
        for index, spots in self._spots(addresses).items():
            with self._maybe_absent():
                for spot, source in self._of(index).read(spots).items():
                    record = self._places.document(index, spot, source)
                    records[record.address] = record
        return records

    def converted(self, records: Sequence[IndexDocument], /) -> Sequence[IndexDocument]:
        """Return what the route's ingest pipeline makes of the records, asked of the server, which writes nothing."""
        if self._placement.pipeline is None:
            return records
        return simulated(self._cluster, self._placement.pipeline, records, self._known(), self._deadline_s)

    def addresses(self) -> Iterator[str]:
        """Yield the address of every document held when its index's listing began.

        Raises TransientError if a shard did not answer, or if the listing waited so long for its reader that the
        server let go of it; it then begins anew.
        """
        for index in self._indices():
            for spot in self._of(index).list():
                yield self._places.document(index, spot, b"").address

    def count(self) -> int:
        """Return how many documents the server counts, once all that was written can be seen."""
        return sum(self._of(index).count() for index in self._indices())

    def remove(self) -> None:
        """There is no index."""
        for index in self._indices():
            self._cluster.ask("DELETE", path(index), deadline_s=self._deadline_s, fence=self._fence, allowed=(404,))

    def _of(self, index: str) -> Documents:
        return Documents(
            self._cluster,
            self.pace,
            self._fence,
            index,
            self._deadline_s,
            routed=self._placement.routing is not None,
            careful=self._placement.routing is not None or self._periods is not None,
            pipeline=self._placement.pipeline or NO_PIPELINE,
        )

    def _writable(self, index: str) -> Documents:
        """Return the documents of an existing index; the index of a new period is made now."""
        with self._lock:
            if index not in self._ready:
                if self._periods is None:
                    self._ready[index] = self._of(index)
                else:
                    try:
                        self._make_ready(index, server_version(self._cluster, self._check_s))
                    except PlanError as error:  # Others may have been written to.
                        raise PermanentError(error.code, error.message) from error
            return self._ready[index]

    def _spots(self, addresses: Sequence[str]) -> Mapping[str, list[Spot]]:
        return self._places.spots(addresses, self._known() if self._periods is None else "")

    def _inspect(self, index: str, version: tuple[int, int], *, undecided: bool = False) -> Mapping[str, Any] | None:
        return inspect(self._cluster, self._plan, index, version, self._check_s, undecided=undecided)

    @contextmanager
    def _maybe_absent(self) -> Iterator[None]:
        """Where indices are made by date an absent one holds nothing; else it is the error of the body."""
        try:
            yield
        except PermanentError as error:
            if self._periods is None or error.code != "E-ES-NOINDEX":
                raise

    def close(self) -> None:
        """Release connections."""
        self._cluster.close()


@contextmanager
def _before_writing() -> Iterator[None]:
    """Whatever is refused here is refused before anything was written: a PlanError."""
    try:
        yield
    except LeaseLost:
        raise
    except PermanentError as error:
        raise PlanError(error.code, error.message) from error
