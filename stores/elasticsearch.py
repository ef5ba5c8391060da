"""Elasticsearch, or OpenSearch, as a target: one route's documents are one index, or one index for each period."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

from mappers.elasticsearch import IndexDocument
from stores import elasticsearch_http, elasticsearch_index
from stores.contract import Rejected
from stores.elasticsearch_documents import Documents, Spot, unfit
from stores.elasticsearch_http import Cluster
from stores.elasticsearch_index import IndexPlan
from stores.elasticsearch_serving import Serving
from stores.errors import PermanentError, PlanError
from stores.retrying import Backoff

_CHECK_DEADLINE_S = 10.0
_SERVING_DEADLINE_S = 60.0


class ElasticsearchTarget:
    """One index of an Elasticsearch 8 or 9, or OpenSearch 2 or 3, cluster.

    Elasticsearch makes a missing index anew, with a guessed mapping, for whoever writes to it. So each `write` and
    `delete` compares the index's UUID after its last acknowledgement with the one it began with: an index deleted
    while it was written to is an error before anything counts as held.
    """

    Connection = elasticsearch_http.Connection
    Placement = elasticsearch_index.Placement

    def __init__(
        self, connection: elasticsearch_http.Connection, placement: elasticsearch_index.Placement, route: str
    ) -> None:
        """Take the names, without connecting; raises ValueError for options that cannot be served."""
        name = placement.index if placement.index is not None else connection.index_prefix + route
        self._placement = placement
        self._cluster = Cluster(connection)
        self._plan = IndexPlan(name, placement, opensearch=self._cluster.opensearch)
        self._deadline_s = connection.retry_deadline_s
        self._public = name
        self._name = name
        self._what = f"index {name}"
        self._documents = self._of(name)
        # Briefly: a cluster that is away when a run ends has been waited for already, and the next run puts it right.
        self._serving = Serving(self._cluster, name, placement, min(self._deadline_s, _SERVING_DEADLINE_S))
        self._designed = False

    @property
    def records(self) -> tuple[type[IndexDocument], ...]:
        """The record types it holds."""
        return (IndexDocument,)

    @property
    def territory(self) -> str:
        """The index, or all its versions."""
        return self._public + ("__" if self._placement.versioned else "\0")

    @property
    def _path(self) -> str:
        return "/" + quote(self._known(), safe="")

    def _known(self) -> str:
        """Return the index's name; raises PlanError where it is that of a version no design has chosen."""
        if self._placement.versioned and self._name == self._public:
            raise PlanError(
                "E-ES-VERSION",
                f"which version of {self._public} is this route's is not known: this state has not copied it; run"
                " backfill first, or name the version itself with `index`",
            )
        return self._name

    def _held(self) -> Documents:
        self._known()
        return self._documents

    def _of(self, index: str) -> Documents:
        return Documents(self._cluster, index, self._deadline_s)

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
            self._version()
            return {**wishes, "index": self._serving.next_version()}

    def follow(self, design: Mapping[str, Any], /) -> None:
        """The index is the one of this design from now on."""
        self._plan = self._plan.following(design)
        self._name = self._plan.name
        self._what = f"index {self._name}"
        self._documents = self._of(self._name)
        self._designed = True

    # --- making ready -------------------------------------------------------------------------------------------------

    def check(self) -> Sequence[str]:
        """Return what a person should know; raises PlanError for another product or an index the plan does not fit."""
        notes: list[str] = []
        with _before_writing():
            version = self._version()
            if self._placement.versioned:
                found = None
                notes += filter(None, [self._serving.check()])
            else:
                found = self._inspect(version, undecided=not self._designed)
        if self._plan.unreplicated(found):
            notes.append(f"{self._what} has no replicas: the loss of one node loses documents")
        elif self._placement.load_replicas == 0:
            notes.append(f"{self._what} has no replicas while copying: the loss of one node meanwhile loses documents")
        return tuple(notes)

    def prepare(self) -> str:
        """Make the index unless it is there, and return its UUID; raises PlanError if it does not fit the plan."""
        with _before_writing():
            version = self._version()
            found = self._inspect(version)
            if found is None:
                self._create(version)
                # Read back: an index template may have added what the plan does not bear (R90, R91).
                found = self._inspect(version)
            if found is None:
                raise PlanError("E-ES-NOINDEX", f"{self._what} was deleted as soon as it was made")
            self._serving.tune(self._name, found)
        uuid = str(elasticsearch_index.settings(found)["uuid"])
        self._documents.know(uuid)
        return uuid

    def restore(self) -> None:
        """The index has its settings from before the load."""
        if not self._placement.versioned or self._designed:
            self._serving.restore(self._name)

    def publish(self) -> str:
        """Readers of the route's index see what was copied; returns how."""
        if not self._placement.versioned:
            return self._name
        return self._serving.publish(self._known())

    def audit(self) -> Sequence[str]:
        """Return why readers would not find all that the index holds."""
        return self._serving.audit(self._known())

    def _version(self) -> tuple[int, int]:
        answer = self._cluster.ask("GET", "/", backoff=self._briefly(), allowed=(400, 404, 405))
        number = re.match(r"(\d+)\.(\d+)", str(answer.part("version", "number", default="")))
        product = str(answer.part("version", "distribution", default=answer.product)) or "something nameless"
        shown = f"{product} {number[0] if number else ''}".rstrip()
        found = (int(number[1]), int(number[2])) if number else (0, 0)
        if self._cluster.opensearch and found == (7, 10):
            # What OpenSearch before 3 says of itself when told to pass for Elasticsearch (R87).
            found = (2, 0)
        wanted, other, oldest = (
            ("opensearch", "elasticsearch", 2) if self._cluster.opensearch else ("elasticsearch", "opensearch", 8)
        )
        if product.lower() != wanted or found[0] < oldest:
            served = "OpenSearch 2 or 3" if self._cluster.opensearch else "Elasticsearch 8 or 9"
            advice = f"say flavour: {other}" if product.lower() == other else "correct the target's url"
            raise PlanError("E-ES-PRODUCT", f"{self._cluster.name}: {shown} answers; it must be {served}; {advice}")
        return found

    def _inspect(self, version: tuple[int, int], *, undecided: bool = False) -> Mapping[str, Any] | None:
        """Return the index as the server describes it, None for none; raises PlanError with all its faults."""
        answer = self._cluster.ask("GET", self._path, backoff=self._briefly(), allowed=(404,))
        if answer.status == 404 and answer.fault().no_index:
            return None
        if not isinstance(answer.content, dict) or answer.status == 404:
            raise answer.unclear(f"what {self._what} is")
        if list(answer.content) != [self._name]:
            raise PlanError(
                "E-ES-INDEX",
                f"{self._name} is an alias or data stream of {', '.join(answer.content)}; name an index itself with the"
                " route's `index`",
            )
        found: Mapping[str, Any] = answer.content[self._name]
        if faults := self._plan.source_faults(found, version):
            raise PlanError(
                "E-ES-SRC", f"{self._what} would not give back what it is given: {faults}; name another index"
            )
        if faults := self._plan.faults(found, undecided=undecided):
            raise PlanError("E-ES-INDEX", f"{self._what} differs from the plan: {faults}; change the plan or the index")
        return found

    def _create(self, version: tuple[int, int]) -> None:
        body = self._plan.creation(version)
        answer = self._cluster.ask("PUT", self._path, body, backoff=self._briefly(), allowed=(400,))
        # Somebody else, or an attempt of ours whose answer was lost, made it: it is inspected like any other.
        if answer.status == 400 and "resource_already_exists_exception" not in answer.fault().kinds:
            # No document is in this request, so that the server's own words may be shown.
            reasons = "; ".join(answer.fault().reasons) or answer.fault().text
            raise PlanError("E-ES-INDEX", f"{self._what} cannot be made: {reasons}; correct the route's placement")

    def _briefly(self) -> Backoff:
        return Backoff(min(self._deadline_s, _CHECK_DEADLINE_S))

    # --- the documents ------------------------------------------------------------------------------------------------

    def write(self, records: Sequence[IndexDocument], /) -> Sequence[Rejected]:
        """Every record is held, the last of an id, or is in the answer.

        Should the last of an id be refused, the one before it is written, as if one had followed the other.
        """
        rejected: list[Rejected] = []
        places: dict[Spot, list[int]] = {}
        for place, record in enumerate(records):
            spot = Spot(record.id)
            if refusal := unfit(spot, record.source):
                rejected.append(Rejected(place, *refusal))
            else:
                places.setdefault(spot, []).append(place)
        while places:
            refused = self._held().write({spot: records[of[-1]].source for spot, of in places.items()})
            rejected += [Rejected(places[spot].pop(), *refusal) for spot, refusal in refused.items()]
            places = {spot: places[spot] for spot in refused if places[spot]}
        return sorted(rejected, key=lambda refusal: refusal.index)

    def delete(self, addresses: Sequence[str], /) -> None:
        """No document is held under these ids."""
        self._held().delete([Spot(address) for address in addresses])

    def read(self, addresses: Sequence[str], /) -> Mapping[str, IndexDocument]:
        """Return the documents held now, refreshed or not (R88)."""
        held = self._held().read([Spot(address) for address in addresses])
        return {spot.id: IndexDocument(spot.id, source) for spot, source in held.items()}

    def addresses(self) -> Iterator[str]:
        """Yield the id of every document held when the listing began.

        Raises TransientError if a shard did not answer, or if the listing waited so long for its reader that the
        server let go of it; it then begins anew.
        """
        for spot in self._held().list():
            yield spot.id

    def close(self) -> None:
        """Release connections."""
        self._cluster.close()


@contextmanager
def _before_writing() -> Iterator[None]:
    """Whatever is refused here is refused before anything was written: a PlanError."""
    try:
        yield
    except PermanentError as error:
        raise PlanError(error.code, error.message) from error
