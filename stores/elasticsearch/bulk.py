"""Bulk requests to one index; each action's outcome is judged by itself (R79, R142)."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote

import orjson

from stores.contract.fence import Fence
from stores.elasticsearch.client import NDJSON, Answer, Cluster
from stores.elasticsearch.faults import DROPPED, NO_ANSWER, Fault
from stores.elasticsearch.spots import Refusal, Spot
from stores.throttling.backoff import Backoff, Left, retry_rest
from stores.throttling.batches import cut
from stores.throttling.rate_limiter import Pace

_LOG = logging.getLogger(__name__)

_BULK_BYTES = 5 << 20
_BULK_ACTIONS = 1000
# The server gives up on a bulk request before this client does, so that no forgotten one is carried out later.
_SERVER_TIMEOUT = "30s"
NO_PIPELINE = "_none"
"""What a request names for no ingest pipeline, not even the index's own."""
_FILTER_PATH = "errors,items.*._id,items.*._index,items.*.status,items.*.error,items.*._shards.failed"
"""The parts of a bulk answer that are needed; the order of its items is that of the request."""
_COPIED = {"failed": 0}

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
            return Refusal("E-ES-SIZE", f"the server takes no request of {self.size_bytes} bytes")
        fault = self.answer.fault()
        if not fault.blames_document:
            raise fault.error(where)
        return fault.refusal()


class Bulk:
    """Bulk requests to one index, through one ingest pipeline or none."""

    def __init__(
        self, cluster: Cluster, pace: Pace, fence: Fence, index: str, deadline_s: float, pipeline: str
    ) -> None:
        """Take the index's name; nothing is sent yet."""
        self._cluster = cluster
        self._pace = pace
        self._fence = fence
        self._name = index
        self._what = f"index {index}"
        self._deadline_s = deadline_s
        self._pipeline = pipeline
        self._target = f"/{quote(index, safe='')}/_bulk?pipeline={quote(pipeline, safe='')}&timeout={_SERVER_TIMEOUT}"
        if pipeline == NO_PIPELINE:  # A pipeline might send a document elsewhere, or nowhere: then all is told.
            self._target += "&filter_path=" + quote(_FILTER_PATH, safe="")  # A signature is made of what is encoded.

    def send(self, actions: Sequence[Action]) -> dict[Spot, Refusal]:
        """Return the refused spots; all other actions are carried out."""
        refused: dict[Spot, Refusal] = {}
        for batch in cut(actions, _BULK_ACTIONS, _BULK_BYTES, _lines_bytes):
            refused.update(self._send(batch))
        return refused

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
        backoff = Backoff(self._deadline_s, timing=self._cluster.timing)
        whole: _RefusedWhole | None = None

        def send(waiting: Sequence[Action]) -> Left[Action] | None:
            nonlocal whole
            body = b"".join([lines for _, lines in waiting])
            turn = self._pace.ask(len(waiting), patience_s=backoff.left_s)
            backoff.extend(turn.excused_s)
            answer = self._cluster.once(
                "POST", self._target, body, fence=self._fence, media=NDJSON, allowed=(400, 413, 429)
            )
            if answer.status == 429 or (answer.status == 400 and answer.fault().passes):
                self._pace.record_result(turn, len(waiting))
                if len(waiting) > 1 and "circuit_breaking_exception" in answer.fault().kinds:
                    # More than the server has memory for at once, perhaps for ever: a smaller request may fit.
                    whole = _RefusedWhole(waiting, len(body), answer)
                    return None
                return Left(waiting, answer.fault().away(self._what))
            if answer.status in (400, 413):
                whole = _RefusedWhole(waiting, len(body), answer)
                return None
            left, put_off = self._put_off(answer, waiting, refused)
            self._pace.record_result(turn, len(left))
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


def index_lines(spot: Spot, source: bytes) -> bytes:
    """Return the lines that put the source at the spot."""
    return b'{"index":%b}\n%b\n' % (orjson.dumps(spot.named()), source)


def delete_line(spot: Spot) -> bytes:
    """Return the line that leaves nothing at the spot."""
    return b'{"delete":%b}\n' % orjson.dumps(spot.named())


def _lines_bytes(action: Action) -> int:
    return len(action[1])
