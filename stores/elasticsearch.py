"""Elasticsearch as a target: one route's documents are one index; every answer is judged document by document (R79)."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import quote

import orjson

from mappers.elasticsearch import ID_LIMIT_BYTES, IndexDocument
from stores import elasticsearch_http, elasticsearch_index
from stores.contract import Rejected
from stores.elasticsearch_http import NDJSON, NO_ANSWER, Answer, Cluster, Fault
from stores.elasticsearch_index import IndexPlan
from stores.elasticsearch_serving import Serving
from stores.errors import OfframpError, PermanentError, PlanError, TransientError
from stores.pacing import pace
from stores.retrying import Backoff

_LOG = logging.getLogger(__name__)

_BULK_BYTES = 5 << 20
_BULK_ACTIONS = 1000
_READ_IDS = 500
_PAGE_HITS = 5000
_KEEP_ALIVE = "15m"
# The server gives up on a bulk request before this client does, so that no forgotten one is carried out later.
_SERVER_TIMEOUT = "30s"
_CHECK_DEADLINE_S = 10.0
_SERVING_DEADLINE_S = 60.0


class ElasticsearchTarget:
    """One index of an Elasticsearch 8 or 9 cluster.

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
        self._plan = IndexPlan(name, placement)
        self._cluster = Cluster(connection)
        self.pace = pace(self._cluster.name, connection.ceilings())
        self._deadline_s = connection.retry_deadline_s
        self._uuid = ""
        self._public = name
        self._name = name
        self._what = f"index {name}"
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
        self._uuid = str(elasticsearch_index.settings(found)["uuid"])
        return self._uuid

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
        if product.lower() != "elasticsearch" or number is None or int(number[1]) < 8:
            raise PlanError(
                "E-ES-PRODUCT",
                f"{self._cluster.name}: {product} {number[0] if number else ''} answers; it must be Elasticsearch 8"
                " or 9 (OpenSearch is not supported yet); correct the target's url",
            )
        return int(number[1]), int(number[2])

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

    def _patiently(self) -> Backoff:
        return Backoff(self._deadline_s)

    # --- writing ------------------------------------------------------------------------------------------------------

    def write(self, records: Sequence[IndexDocument], /) -> Sequence[Rejected]:
        """Every record is held, the last of an id, or is in the answer.

        Should the last of an id be refused, the one before it is written, as if one had followed the other.
        """
        rejected: list[Rejected] = []
        places: dict[str, list[int]] = {}
        for place, record in enumerate(records):
            if refusal := _unfit(record):
                rejected.append(Rejected(place, *refusal))
            else:
                places.setdefault(record.id, []).append(place)
        while places:
            refused = self._bulk([(identifier, _index_lines(records[of[-1]])) for identifier, of in places.items()])
            rejected += [Rejected(places[identifier].pop(), *refusal) for identifier, refusal in refused.items()]
            places = {identifier: places[identifier] for identifier in refused if places[identifier]}
        return sorted(rejected, key=lambda refusal: refusal.index)

    def delete(self, addresses: Sequence[str], /) -> None:
        """No document is held under these ids."""
        refused = self._bulk([(address, _delete_line(address)) for address in _possible(addresses)])
        for code, reason in refused.values():
            raise PermanentError("E-ES-ANSWER", f"{self._what}: a deletion was refused: {code} {reason}")

    def _bulk(self, actions: Sequence[tuple[str, bytes]]) -> dict[str, tuple[str, str]]:
        """Return the refused ids with code and reason; all others are acknowledged, in the index this began with."""
        if not actions:
            return {}
        self._uuid = known = self._uuid or self._current_uuid()
        refused: dict[str, tuple[str, str]] = {}
        for batch in _batches(actions):
            refused.update(self._send(batch))
        if (found := self._current_uuid()) != known:
            raise PermanentError(
                "E-ES-NOINDEX",
                f"{self._what} was made anew while it was written to (it was {known}, it is {found}) and lacks"
                " what went before; find out who deleted it, delete it and run the route again from its beginning",
            )
        return refused

    def _current_uuid(self) -> str:
        answer = self._cluster.ask("GET", self._path + "/_settings/index.uuid", backoff=self._patiently())
        # Required: an alias of this name would answer with another index.
        return str(answer.part(self._name, "settings", "index", "uuid"))

    def _send(self, batch: Sequence[tuple[str, bytes]]) -> dict[str, tuple[str, str]]:
        backoff = self._patiently()
        target = f"{self._path}/_bulk?pipeline=_none&timeout={_SERVER_TIMEOUT}"
        refused: dict[str, tuple[str, str]] = {}
        waiting = batch
        while True:
            body = b"".join([lines for _, lines in waiting])
            turn = self.pace.ask(len(waiting))
            backoff.extend(turn.waited_s)
            answer = self._cluster.ask("POST", target, body, media=NDJSON, backoff=backoff, allowed=(413, 429))
            if answer.status == 429:
                self.pace.tell(turn, len(waiting))
                if not backoff.wait():
                    raise answer.fault().away(self._what)
                continue
            if answer.status == 413 and len(waiting) > 1:
                half = len(waiting) // 2
                return refused | self._send(waiting[:half]) | self._send(waiting[half:])
            if answer.status == 413:
                return refused | {waiting[0][0]: ("E-ES-SIZE", f"the server takes no request of {len(body)} bytes")}
            again: list[tuple[str, bytes]] = []
            pushed = Fault(NO_ANSWER)
            for action, fault in zip(waiting, self._outcomes(answer, waiting), strict=True):
                if fault is None:
                    continue
                if fault.passes:
                    again.append(action)
                    pushed = fault
                elif fault.blames_document:
                    refused[action[0]] = fault.refusal()
                else:
                    raise fault.error(self._what)
            self.pace.tell(turn, len(again))
            if not again:
                return refused
            if len(waiting) == len(batch):
                _LOG.warning("%s: %d of %d actions put off by %s", self._name, len(again), len(batch), pushed.text)
            if len(again) < len(waiting):
                backoff = self._patiently()
            waiting = again
            if not backoff.wait():
                raise pushed.away(self._what)

    def _outcomes(self, answer: Answer, actions: Sequence[tuple[str, bytes]]) -> Iterator[Fault | None]:
        """Yield each action's fault, or None where it was carried out, in the order of the actions."""
        items = answer.part("items", default=None)
        if not isinstance(items, list) or len(items) != len(actions):
            raise answer.unclear(f"the bulk request of {len(actions)} actions to {self._what}")
        copies_failed = 0
        for (identifier, _), item in zip(actions, items, strict=True):
            deleted, outcome = item.get("delete"), item.get("delete") or item.get("index", {})
            if outcome.get("_id") != identifier or outcome.get("_index") != self._name:
                raise answer.unclear(f"the bulk request to {self._what} (another document answered)")
            status = outcome.get("status", NO_ANSWER)
            if 200 <= status < 300 or (deleted and status == 404 and "error" not in outcome):
                copies_failed += bool(outcome.get("_shards", {}).get("failed"))
                yield None
            else:
                yield Fault.of(status, outcome.get("error"))
        if copies_failed:
            _LOG.warning("%s: %d documents were acknowledged with a failed replica", self._name, copies_failed)

    # --- reading ------------------------------------------------------------------------------------------------------

    def read(self, addresses: Sequence[str], /) -> Mapping[str, IndexDocument]:
        """Return the documents held now, refreshed or not (R88)."""
        wanted = _possible(addresses)
        held: dict[str, IndexDocument] = {}
        for start in range(0, len(wanted), _READ_IDS):
            held.update(self._get(wanted[start : start + _READ_IDS]))
        return held

    def _get(self, ids: Sequence[str]) -> dict[str, IndexDocument]:
        backoff = self._patiently()
        held: dict[str, IndexDocument] = {}
        while True:
            body = orjson.dumps({"ids": ids})
            answer = self._cluster.ask("POST", self._path + "/_mget?realtime=true", body, backoff=backoff)
            found = answer.part("docs", default=None)
            wanted = [(self._name, identifier) for identifier in ids]
            if not isinstance(found, list) or [(hit.get("_index"), hit.get("_id")) for hit in found] != wanted:
                raise answer.unclear(f"the read of {len(ids)} documents of {self._what}")
            again: list[str] = []
            pushed = Fault(NO_ANSWER)
            for identifier, hit in zip(ids, found, strict=True):
                if "error" in hit:
                    # A copy that did not answer says nothing about the document: it is never absent for that (R152).
                    pushed = Fault.of(NO_ANSWER, hit["error"])
                    if pushed.no_index:
                        raise pushed.error(self._what)
                    again.append(identifier)
                elif hit.get("found") is True and "_source" in hit:
                    held[identifier] = IndexDocument(identifier, orjson.dumps(hit["_source"]))
                elif hit.get("found") is not False:
                    raise answer.unclear(f"the read of {self._what} (a document without its source)")
            if not again:
                return held
            ids = again
            if not backoff.wait():
                raise pushed.away(self._what)

    def addresses(self) -> Iterator[str]:
        """Yield the id of every document held when the listing began.

        Raises TransientError if a shard did not answer, or if the listing waited so long for its reader that the
        server let go of it; it then begins anew.
        """
        answer = self._cluster.ask("POST", self._path + "/_refresh", backoff=self._patiently())
        self._whole(answer)
        answer = self._cluster.ask("POST", f"{self._path}/_pit?keep_alive={_KEEP_ALIVE}", backoff=self._patiently())
        held_open = answer.part("id")
        try:
            listed, total, after = 0, 0, None
            while True:
                answer = self._page(held_open, after)
                held_open = answer.part("pit_id", default=held_open)
                hits = answer.part("hits", "hits")
                if after is None:
                    total = answer.part("hits", "total", "value")
                if not hits:
                    break
                listed += len(hits)
                after = hits[-1]["sort"]
                for hit in hits:
                    yield hit["_id"]
            if listed != total:
                raise TransientError("E-ES-LIST", f"{self._what}: {listed} of {total} documents were listed")
        finally:
            with suppress(OfframpError):  # it lapses by itself
                self._cluster.ask("DELETE", "/_pit", orjson.dumps({"id": held_open}), backoff=Backoff(0))

    def _page(self, held_open: str, after: Sequence[Any] | None) -> Answer:
        query = {
            "size": _PAGE_HITS,
            "query": {"match_all": {}},
            "pit": {"id": held_open, "keep_alive": _KEEP_ALIVE},
            "sort": [{"_shard_doc": "asc"}],
            "_source": False,
            "track_total_hits": True,
        }
        if after is not None:
            query["search_after"] = after
        target = "/_search?allow_partial_search_results=false"
        answer = self._cluster.ask("POST", target, orjson.dumps(query), backoff=self._patiently(), allowed=(404,))
        if answer.status == 404:
            if (fault := answer.fault()).no_index:
                raise fault.error(self._what)
            raise TransientError("E-ES-LIST", f"{self._what}: the server lost the listing; it must begin anew")
        self._whole(answer)
        return answer

    def _whole(self, answer: Answer) -> None:
        failed = answer.part("_shards", "failed")
        if failed or answer.part("timed_out", default=False):
            raise TransientError("E-ES-LIST", f"{self._what}: {failed} shards did not answer, the list has gaps")

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


def _unfit(record: IndexDocument) -> tuple[str, str] | None:
    """Return code and reason if the record would spoil the request it travels in: the server refuses that whole."""
    size = len(record.id.encode())
    if not 0 < size <= ID_LIMIT_BYTES:
        return "E-ES-ID", f"the id is {size} bytes; Elasticsearch takes 1 to {ID_LIMIT_BYTES}"
    if not record.source.startswith(b"{") or b"\n" in record.source:
        return "E-ES-JSON", "the source must be a JSON object on one line"
    return None


def _possible(addresses: Sequence[str]) -> list[str]:
    """Return the addresses once each, without those under which nothing can be held."""
    return [address for address in dict.fromkeys(addresses) if 0 < len(address.encode()) <= ID_LIMIT_BYTES]


def _index_lines(record: IndexDocument) -> bytes:
    return b'{"index":{"_id":%b}}\n%b\n' % (orjson.dumps(record.id), record.source)


def _delete_line(identifier: str) -> bytes:
    return b'{"delete":{"_id":%b}}\n' % orjson.dumps(identifier)


def _batches(actions: Sequence[tuple[str, bytes]]) -> Iterator[Sequence[tuple[str, bytes]]]:
    """Yield the actions in order, as many as one request takes."""
    batch: list[tuple[str, bytes]] = []
    size = 0
    for action in actions:
        if batch and (size + len(action[1]) > _BULK_BYTES or len(batch) == _BULK_ACTIONS):
            yield batch
            batch, size = [], 0
        batch.append(action)
        size += len(action[1])
    if batch:
        yield batch
