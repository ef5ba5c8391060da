"""The documents of one index: written in bulk, read at once, listed whole; each answer is judged alone (R79, R88)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import orjson
from msgspec import Raw, Struct, field
from msgspec.json import Decoder

from stores.contract.fence import Fence
from stores.elasticsearch.bulk import NO_PIPELINE, Action, Bulk, delete_line, index_lines
from stores.elasticsearch.client import Cluster
from stores.elasticsearch.deep_arrays import with_field
from stores.elasticsearch.faults import NO_ANSWER, Fault
from stores.elasticsearch.listing import Listing
from stores.elasticsearch.spots import Refusal, Spot
from stores.errors import PermanentError
from stores.throttling.backoff import Backoff, Left, retry_rest
from stores.throttling.batches import cut
from stores.throttling.rate_limiter import Pace

_READ_IDS = 500


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


class Documents:
    """What one index holds."""

    def __init__(
        self,
        cluster: Cluster,
        pace: Pace,
        fence: Fence,
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
        self._name = index
        self._what = f"index {index}"
        self._path = "/" + quote(index, safe="")
        self._deadline_s = deadline_s
        self._careful = careful
        self._uuid = ""
        self._bulk = Bulk(cluster, pace, fence, index, deadline_s, pipeline)
        self._listing = Listing(cluster, index, deadline_s, routed=routed)

    def know(self, uuid: str) -> None:
        """The index of this UUID is the one meant from now on."""
        self._uuid = uuid

    def write(self, sources: Mapping[Spot, bytes]) -> dict[Spot, Refusal]:
        """Return the refused spots with code and reason; at all others these sources are held."""
        refused = self._carry_out([(spot, index_lines(spot, source)) for spot, source in sources.items()])
        return {spot: with_field(refusal, sources[spot]) for spot, refusal in refused.items()}

    def delete(self, spots: Sequence[Spot]) -> None:
        """Nothing is held at these spots."""
        possible = list(dict.fromkeys(spot for spot in spots if spot.possible))
        if self._careful:
            # A delete takes whatever of this id lies on the shard that the routing leads to, under another one too.
            present = self.read(possible)
            possible = [spot for spot in possible if spot in present]
        refused = self._carry_out([(spot, delete_line(spot)) for spot in possible])
        for refusal in refused.values():
            text = f"{self._what}: a deletion was refused: {refusal.code} {refusal.reason}"
            raise PermanentError("E-ES-ANSWER", text)

    def _carry_out(self, actions: Sequence[Action]) -> dict[Spot, Refusal]:
        """Return the refused spots; all others are acknowledged, in the index this began with."""
        if not actions:
            return {}
        self._uuid = known = self._uuid or self._current_uuid()
        refused = self._bulk.send(actions)
        if (found := self._current_uuid()) != known:
            raise PermanentError(
                "E-ES-NOINDEX",
                f"{self._what} was recreated during the run (it was {known}, it is {found}) and lacks earlier"
                " documents; find out who deleted it, delete what was made anew, then start over with backfill"
                " --restart",
            )
        return refused

    def _current_uuid(self) -> str:
        answer = self._cluster.ask("GET", self._path + "/_settings/index.uuid", deadline_s=self._deadline_s)
        # Required: an alias of this name would answer with another index.
        return str(answer.part(self._name, "settings", "index", "uuid"))

    # --- reading ------------------------------------------------------------------------------------------------------

    def read(self, spots: Sequence[Spot]) -> dict[Spot, bytes]:
        """Return the sources held now, refreshed or not (R88)."""
        wanted = list(dict.fromkeys(spot for spot in spots if spot.possible))
        sources: dict[Spot, bytes] = {}
        for batch in cut(wanted, _READ_IDS):
            sources.update(self._get(batch))
        return sources

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

        retry_rest(send, spots, Backoff(self._deadline_s, timing=self._cluster.timing))
        return sources

    def count(self) -> int:
        """Return how many documents are held; raises TransientError if a shard did not answer."""
        return self._listing.count()

    def list(self) -> Iterator[Spot]:
        """Yield the spot of every document held when the listing began; see `Listing.spots`."""
        return self._listing.spots()
