"""The documents of one index: written in bulk, read at once, listed whole; each answer is judged alone (R79, R88)."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple
from urllib.parse import quote

import orjson
from msgspec import Raw, Struct, field
from msgspec.json import Decoder

from mappers.elasticsearch.records import ID_LIMIT_BYTES
from stores.elasticsearch.client import DROPPED, NDJSON, NO_ANSWER, Answer, Cluster, Fault
from stores.errors import OfframpError, PermanentError, TransientError
from stores.throttling.backoff import Backoff, Left, retry_rest
from stores.throttling.batches import cut
from stores.throttling.rate_limiter import Pace

_LOG = logging.getLogger(__name__)

_BULK_BYTES = 5 << 20
_BULK_ACTIONS = 1000
_READ_IDS = 500
_PAGE_HITS = 5000
_KEEP_ALIVE = "15m"
# The server gives up on a bulk request before this client does, so that no forgotten one is carried out later.
_SERVER_TIMEOUT = "30s"
_PAGE: Mapping[str, Any] = {
    "size": _PAGE_HITS,
    "query": {"match_all": {}},
    "_source": False,
    "track_total_hits": True,
}


NO_PIPELINE = "_none"
"""What a request names for no ingest pipeline, not even the index's own."""
_TOLD = "errors,items.*._id,items.*._index,items.*.status,items.*.error,items.*._shards.failed"
"""The parts of a bulk answer that are needed; the order of its items is that of the request."""
_COPIED = {"failed": 0}


class Spot(NamedTuple):
    """Where a document lies in its index: the same id under another routing is another document (R85)."""

    id: str
    routing: str | None = None

    @property
    def possible(self) -> bool:
        """Whether a document can be held there."""
        return 0 < len(self.id.encode()) <= ID_LIMIT_BYTES and self.routing != ""

    def named(self, name: str = "routing") -> dict[str, str]:
        """Return the spot as requests carry it."""
        return {"_id": self.id} if self.routing is None else {"_id": self.id, name: self.routing}


class _Hit(Struct):
    """One document of a read; its source stays the text it is, as the server was given it, and is not parsed."""

    index: str = field(name="_index", default="")
    id: str = field(name="_id", default="")
    found: bool | None = None
    routing: str | None = field(name="_routing", default=None)
    source: Raw = field(name="_source", default=Raw())
    error: Any = None


class _Hits(Struct):
    docs: list[_Hit] = []


_HITS = Decoder(_Hits)


def _parsed_hits(body: bytes) -> dict[str, Any]:
    return {"docs": _HITS.decode(body).docs}


Refusal = tuple[str, str]
"""Code and reason of a document's reject."""


Action = tuple[Spot, bytes]
"""Where an action applies, and its lines in a bulk request."""


class _RefusedWhole(NamedTuple):
    """A bulk request that was refused as a whole, so that nothing of it was carried out."""

    actions: Sequence[Action]
    size_bytes: int
    answer: Answer

    def refusal(self, where: str) -> Refusal:
        """Return why its only document is refused; raises PermanentError where it is not for the document."""
        if self.answer.status == 413:
            return "E-ES-SIZE", f"the server takes no request of {self.size_bytes} bytes"
        fault = self.answer.fault()
        if not fault.blames_document:
            raise fault.error(where)
        return fault.refusal()


class Documents:
    """What one index holds."""

    def __init__(
        self,
        cluster: Cluster,
        pace: Pace,
        index: str,
        deadline_s: float,
        *,
        routed: bool = False,
        careful: bool = False,
        pipeline: str = NO_PIPELINE,
    ) -> None:
        """Take the index's name; nothing is asked yet. `careful` deletes look first whether there is something.

        With `pipeline` writes pass through that ingest pipeline.
        """
        self._cluster = cluster
        self._pace = pace
        self._name = index
        self._what = f"index {index}"
        self._path = "/" + quote(index, safe="")
        self._deadline_s = deadline_s
        self._routed = routed
        self._careful = careful
        self._pipeline = pipeline
        self._uuid = ""
        self._bulk_target = f"{self._path}/_bulk?pipeline={quote(pipeline, safe='')}&timeout={_SERVER_TIMEOUT}"
        if pipeline == NO_PIPELINE:  # A pipeline might send a document elsewhere, or nowhere: then all is told.
            self._bulk_target += "&filter_path=" + quote(_TOLD, safe="")  # A signature is made of what is encoded.

    def know(self, uuid: str) -> None:
        """The index of this UUID is the one meant from now on."""
        self._uuid = uuid

    def write(self, sources: Mapping[Spot, bytes]) -> dict[Spot, Refusal]:
        """Return the refused spots with code and reason; at all others these sources are held."""
        return self._bulk([(spot, _index_lines(spot, source)) for spot, source in sources.items()])

    def delete(self, spots: Sequence[Spot]) -> None:
        """Nothing is held at these spots."""
        some = list(dict.fromkeys(spot for spot in spots if spot.possible))
        if self._careful:
            # A delete takes whatever of this id lies on the shard that the routing leads to, under another one too.
            held = self.read(some)
            some = [spot for spot in some if spot in held]
        refused = self._bulk([(spot, _delete_line(spot)) for spot in some])
        for code, reason in refused.values():
            raise PermanentError("E-ES-ANSWER", f"{self._what}: a deletion was refused: {code} {reason}")

    def _bulk(self, actions: Sequence[Action]) -> dict[Spot, Refusal]:
        """Return the refused spots; all others are acknowledged, in the index this began with."""
        if not actions:
            return {}
        self._uuid = known = self._uuid or self._current_uuid()
        refused: dict[Spot, Refusal] = {}
        for batch in cut(actions, _BULK_ACTIONS, _BULK_BYTES, _lines_bytes):
            refused.update(self._send(batch))
        if (found := self._current_uuid()) != known:
            raise PermanentError(
                "E-ES-NOINDEX",
                f"{self._what} was made anew while it was written to (it was {known}, it is {found}) and lacks"
                " what went before; find out who deleted it, delete it and run the route again from its beginning",
            )
        return refused

    def _current_uuid(self) -> str:
        answer = self._cluster.ask("GET", self._path + "/_settings/index.uuid", deadline_s=self._deadline_s)
        # Required: an alias of this name would answer with another index.
        return str(answer.part(self._name, "settings", "index", "uuid"))

    def _send(self, batch: Sequence[Action]) -> dict[Spot, Refusal]:
        """Return the refused spots; of a request that is refused whole the halves are tried apart (R142)."""
        refused: dict[Spot, Refusal] = {}
        parts = [batch]
        first: _RefusedWhole | None = None
        while parts:
            whole = self._sent(parts.pop(), refused)
            if whole is None:
                continue
            if len(whole.actions) == 1:
                refused[whole.actions[0][0]] = whole.refusal(self._what)
                continue
            first = first or whole
            middle = len(whole.actions) // 2
            parts += [whole.actions[middle:], whole.actions[:middle]]
        if first is not None and first.answer.status == 400 and all(spot in refused for spot, _ in first.actions):
            raise first.answer.fault().error(self._what)  # What spoils every request alike is no document.
        return refused

    def _sent(self, batch: Sequence[Action], refused: dict[Spot, Refusal]) -> _RefusedWhole | None:
        """Carry the actions out and note those refused; returns the request, if one was refused whole.

        Of that request's actions nothing is carried out; all others are carried out or refused.
        """
        backoff = self._backoff()
        whole: _RefusedWhole | None = None

        def send(waiting: Sequence[Action]) -> Left[Action] | None:
            nonlocal whole
            body = b"".join([lines for _, lines in waiting])
            turn = self._pace.ask(len(waiting))
            backoff.extend(turn.waited_s)
            answer = self._cluster.once("POST", self._bulk_target, body, media=NDJSON, allowed=(400, 413, 429))
            if answer.status == 429 or (answer.status == 400 and answer.fault().passes):
                self._pace.tell(turn, len(waiting))
                return Left(waiting, answer.fault().away(self._what))
            if answer.status in (400, 413):
                whole = _RefusedWhole(waiting, len(body), answer)
                return None
            left, put_off = self._put_off(answer, waiting, refused)
            self._pace.tell(turn, len(left))
            if left and len(waiting) == len(batch):
                _LOG.warning("%s: %d of %d actions put off by %s", self._name, len(left), len(batch), put_off.text)
            return Left(left, put_off.away(self._what)) if left else None

        retry_rest(send, batch, backoff)
        return whole

    def _put_off(
        self, answer: Answer, actions: Sequence[Action], refused: dict[Spot, Refusal]
    ) -> tuple[Sequence[Action], Fault]:
        """Return the actions that may succeed later, and a fault of theirs; those refused for good are noted."""
        items = answer.part("items", default=None)
        if (
            self._pipeline == NO_PIPELINE
            and isinstance(items, list)
            and len(items) == len(actions)
            and all(self._holds(item, spot.id) for item, (spot, _) in zip(items, actions, strict=True))
        ):
            return (), Fault(NO_ANSWER)
        again: list[Action] = []
        put_off = Fault(NO_ANSWER)
        for action, fault in zip(actions, self._outcomes(answer, actions), strict=True):
            if fault is None:
                continue
            if fault.passes:
                again.append(action)
                put_off = fault
            elif fault.blames_document:
                refused[action[0]] = fault.refusal()
            else:
                raise fault.error(self._what)
        return again, put_off

    def _holds(self, item: Any, identifier: str) -> bool:
        """Tell whether an item of a bulk answer says no more than that this document is held, by every copy."""
        outcome = item.get("index", {})
        return (
            outcome.get("status") in (200, 201)
            and outcome.get("_id") == identifier
            and outcome.get("_index") == self._name
            and outcome.get("_shards", _COPIED).get("failed") == 0
        )

    def _outcomes(self, answer: Answer, actions: Sequence[Action]) -> Iterator[Fault | None]:
        """Yield each action's fault, or None where it was carried out, in the order of the actions."""
        items = answer.part("items", default=None)
        if not isinstance(items, list) or len(items) != len(actions):
            raise answer.unclear(f"the bulk request of {len(actions)} actions to {self._what}")
        copies_failed = 0
        for (spot, _), item in zip(actions, items, strict=True):
            deleted, outcome = item.get("delete"), item.get("delete") or item.get("index", {})
            if outcome.get("_id") != spot.id or outcome.get("_index") != self._name:
                raise answer.unclear(f"the bulk request to {self._what} (another document answered)")
            status = outcome.get("status", NO_ANSWER)
            if 200 <= status < 300 or (deleted and status == 404 and "error" not in outcome):
                copies_failed += bool(outcome.get("_shards", {}).get("failed"))
                # An index action that does nothing is one whose document a pipeline dropped.
                yield Fault(status, (DROPPED,)) if outcome.get("result") == "noop" else None
            else:
                yield Fault.of(status, outcome.get("error"))
        if copies_failed:
            _LOG.warning("%s: %d documents were acknowledged with a failed replica", self._name, copies_failed)

    # --- reading ------------------------------------------------------------------------------------------------------

    def read(self, spots: Sequence[Spot]) -> dict[Spot, bytes]:
        """Return the sources held now, refreshed or not (R88)."""
        wanted = list(dict.fromkeys(spot for spot in spots if spot.possible))
        held: dict[Spot, bytes] = {}
        for some in cut(wanted, _READ_IDS):
            held.update(self._get(some))
        return held

    def _get(self, spots: Sequence[Spot]) -> dict[Spot, bytes]:
        sources: dict[Spot, bytes] = {}

        def send(wanted: Sequence[Spot]) -> Left[Spot] | None:
            body = orjson.dumps({"docs": [spot.named() for spot in wanted]})
            answer = self._cluster.once("POST", self._path + "/_mget?realtime=true", body, parsed=_parsed_hits)
            hits = answer.part("docs", default=())
            if [(hit.index, hit.id) for hit in hits] != [(self._name, spot.id) for spot in wanted]:
                raise answer.unclear(f"the read of {len(wanted)} documents of {self._what}")
            again: list[Spot] = []
            put_off = Fault(NO_ANSWER)
            for spot, hit in zip(wanted, hits, strict=True):
                if hit.error is not None:
                    # A copy that did not answer says nothing about the document: it is never absent for that (R152).
                    put_off = Fault.of(NO_ANSWER, hit.error)
                    if put_off.no_index:
                        raise put_off.error(self._what)
                    again.append(spot)
                elif hit.found is True and hit.source:
                    # A shard has documents of many routings: one of this id under another is not the one asked for.
                    if hit.routing == spot.routing:
                        sources[spot] = bytes(hit.source)
                elif hit.found is not False:
                    raise answer.unclear(f"the read of {self._what} (a document without its source)")
            return Left(again, put_off.away(self._what)) if again else None

        retry_rest(send, spots, self._backoff())
        return sources

    def count(self) -> int:
        """Return how many documents are held; raises TransientError if a shard did not answer."""
        self._whole(self._cluster.ask("POST", self._path + "/_refresh", deadline_s=self._deadline_s))
        answer = self._cluster.ask("GET", self._path + "/_count", deadline_s=self._deadline_s)
        self._whole(answer)
        return int(answer.part("count"))

    def list(self) -> Iterator[Spot]:
        """Yield the spot of every document held when the listing began.

        Raises TransientError if a shard did not answer, or if the listing waited so long for its reader that the
        server let go of it; it then begins anew.
        """
        answer = self._cluster.ask("POST", self._path + "/_refresh", deadline_s=self._deadline_s)
        self._whole(answer)
        listed, total = 0, None
        for answer in self._scrolled() if self._cluster.opensearch else self._paged():
            self._whole(answer)
            if total is None:
                total = answer.part("hits", "total", "value")
            hits = answer.part("hits", "hits")
            listed += len(hits)
            for hit in hits:
                if self._routed and "_routing" not in hit:
                    raise answer.unclear(f"under which routing a document of {self._what} lies")
                yield Spot(hit["_id"], hit.get("_routing"))
        if listed != total:
            raise TransientError("E-ES-LIST", f"{self._what}: {listed} of {total} documents were listed")

    def _paged(self) -> Iterator[Answer]:
        """Yield pages of a point in time, until one is empty."""
        answer = self._cluster.ask("POST", f"{self._path}/_pit?keep_alive={_KEEP_ALIVE}", deadline_s=self._deadline_s)
        held_open, after = answer.part("id"), None
        try:
            while True:
                query = {
                    **_PAGE,
                    "pit": {"id": held_open, "keep_alive": _KEEP_ALIVE},
                    "sort": [{"_shard_doc": "asc"}],
                    **({} if after is None else {"search_after": after}),
                }
                answer = self._page("/_search?allow_partial_search_results=false", query)
                held_open = answer.part("pit_id", default=held_open)
                yield answer
                hits = answer.part("hits", "hits")
                if not hits:
                    break
                after = hits[-1]["sort"]
        finally:
            with suppress(OfframpError):  # it lapses by itself
                self._cluster.ask("DELETE", "/_pit", orjson.dumps({"id": held_open}), deadline_s=0)

    def _scrolled(self) -> Iterator[Answer]:
        """Yield pages of a scroll, until one is empty: OpenSearch has no tiebreaker to page a point in time by."""
        target = f"{self._path}/_search?scroll={_KEEP_ALIVE}&allow_partial_search_results=false"
        answer = self._page(target, {**_PAGE, "sort": ["_doc"]})
        held_open = answer.part("_scroll_id")
        try:
            yield answer
            while answer.part("hits", "hits"):
                answer = self._page("/_search/scroll", {"scroll": _KEEP_ALIVE, "scroll_id": held_open})
                held_open = answer.part("_scroll_id", default=held_open)
                yield answer
        finally:
            with suppress(OfframpError):  # it lapses by itself
                body = orjson.dumps({"scroll_id": [held_open]})
                self._cluster.ask("DELETE", "/_search/scroll", body, deadline_s=0)

    def _page(self, target: str, query: Mapping[str, Any]) -> Answer:
        answer = self._cluster.ask("POST", target, orjson.dumps(query), deadline_s=self._deadline_s, allowed=(404,))
        if answer.status == 404:
            if (fault := answer.fault()).no_index:
                raise fault.error(self._what)
            raise TransientError("E-ES-LIST", f"{self._what}: the server lost the listing; it must begin anew")
        return answer

    def _backoff(self) -> Backoff:
        return Backoff(self._deadline_s, timing=self._cluster.timing)

    def _whole(self, answer: Answer) -> None:
        failed = answer.part("_shards", "failed")
        if failed or answer.part("timed_out", default=False):
            raise TransientError("E-ES-LIST", f"{self._what}: {failed} shards did not answer, the list has gaps")


def _lines_bytes(action: Action) -> int:
    return len(action[1])


def unfit(spot: Spot, source: bytes) -> Refusal | None:
    """Return code and reason if the record would spoil the request it travels in: the server refuses that whole."""
    size = len(spot.id.encode())
    if not 0 < size <= ID_LIMIT_BYTES:
        return "E-ES-ID", f"the id is {size} bytes; Elasticsearch takes 1 to {ID_LIMIT_BYTES}"
    if spot.routing == "":
        return "E-ES-ROUTING", "the routing is empty"
    if not source.startswith(b"{") or b"\n" in source:
        return "E-ES-JSON", "the source must be a JSON object on one line"
    return None


def _index_lines(spot: Spot, source: bytes) -> bytes:
    return b'{"index":%b}\n%b\n' % (orjson.dumps(spot.named()), source)


def _delete_line(spot: Spot) -> bytes:
    return b'{"delete":%b}\n' % orjson.dumps(spot.named())
