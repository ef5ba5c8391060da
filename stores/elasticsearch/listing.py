"""Every document of an index listed, none left out unseen (R88)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import quote

import orjson

from stores.elasticsearch.client import Answer, Cluster
from stores.elasticsearch.spots import Spot
from stores.errors import OfframpError, TransientError

_PAGE_HITS = 5000
_KEEP_ALIVE = "15m"
_PAGE: Mapping[str, Any] = {
    "size": _PAGE_HITS,
    "query": {"match_all": {}},
    "_source": False,
    "track_total_hits": True,
}


class Listing:
    """The documents of one index, by where they lie."""

    def __init__(self, cluster: Cluster, index: str, deadline_s: float, *, routed: bool) -> None:
        """Take the index's name; with `routed` each document must tell its routing."""
        self._cluster = cluster
        self._what = f"index {index}"
        self._path = "/" + quote(index, safe="")
        self._deadline_s = deadline_s
        self._routed = routed

    def count(self) -> int:
        """Return how many documents are held; raises TransientError if a shard did not answer."""
        self._whole(self._cluster.ask("POST", self._path + "/_refresh", deadline_s=self._deadline_s))
        answer = self._cluster.ask("GET", self._path + "/_count", deadline_s=self._deadline_s)
        self._whole(answer)
        return int(answer.part("count"))

    def spots(self) -> Iterator[Spot]:
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
        """Yield pages of a point in time, until a page is empty."""
        answer = self._cluster.ask("POST", f"{self._path}/_pit?keep_alive={_KEEP_ALIVE}", deadline_s=self._deadline_s)
        pit_id, after = answer.part("id"), None
        try:
            while True:
                query = {
                    **_PAGE,
                    "pit": {"id": pit_id, "keep_alive": _KEEP_ALIVE},
                    "sort": [{"_shard_doc": "asc"}],
                    **({} if after is None else {"search_after": after}),
                }
                answer = self._page("/_search?allow_partial_search_results=false", query)
                pit_id = answer.part("pit_id", default=pit_id)
                yield answer
                hits = answer.part("hits", "hits")
                if not hits:
                    break
                after = hits[-1]["sort"]
        finally:
            with suppress(OfframpError):  # it lapses by itself
                self._cluster.ask("DELETE", "/_pit", orjson.dumps({"id": pit_id}), deadline_s=0)

    def _scrolled(self) -> Iterator[Answer]:
        """Yield pages of a scroll, until a page is empty: OpenSearch has no tiebreaker to page a point in time."""
        target = f"{self._path}/_search?scroll={_KEEP_ALIVE}&allow_partial_search_results=false"
        answer = self._page(target, {**_PAGE, "sort": ["_doc"]})
        scroll_id = answer.part("_scroll_id")
        try:
            yield answer
            while answer.part("hits", "hits"):
                answer = self._page("/_search/scroll", {"scroll": _KEEP_ALIVE, "scroll_id": scroll_id})
                scroll_id = answer.part("_scroll_id", default=scroll_id)
                yield answer
        finally:
            with suppress(OfframpError):  # it lapses by itself
                body = orjson.dumps({"scroll_id": [scroll_id]})
                self._cluster.ask("DELETE", "/_search/scroll", body, deadline_s=0)

    def _page(self, target: str, query: Mapping[str, Any]) -> Answer:
        answer = self._cluster.ask("POST", target, orjson.dumps(query), deadline_s=self._deadline_s, allowed=(404,))
        if answer.status == 404:
            if (fault := answer.fault()).no_index:
                raise fault.error(self._what)
            raise TransientError(
                "E-ES-LIST", f"{self._what}: the server lost the listing; the same command starts it again"
            )
        return answer

    def _whole(self, answer: Answer) -> None:
        failed = answer.part("_shards", "failed")
        if failed or answer.part("timed_out", default=False):
            raise TransientError("E-ES-LIST", f"{self._what}: {failed} shards did not answer, the list has gaps")
