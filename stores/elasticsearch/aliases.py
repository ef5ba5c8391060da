"""How an index is put before its readers: versions, an alias that swaps, settings for the load, an audit."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import orjson

from stores.contract.fence import Fence
from stores.elasticsearch.client import Answer, Cluster
from stores.elasticsearch.configuration import Placement
from stores.elasticsearch.index import settings
from stores.errors import PermanentError, PlanError

_META = "offramp"
_BEFORE = "before_load"
_HEALTH_WAIT = "30s"


class PublicName:
    """The name that readers use, and the index behind it."""

    def __init__(self, cluster: Cluster, name: str, placement: Placement, fence: Fence, deadline_s: float) -> None:
        """Take the public name; nothing is asked yet."""
        self._cluster = cluster
        self._name = name
        self._placement = placement
        self._fence = fence
        self._deadline_s = deadline_s
        self._version = re.compile(re.escape(name) + r"__(\d+)")

    # --- versions and the alias ---------------------------------------------------------------------------------------

    def next_version(self) -> str:
        """Return the name of an index that is not there yet: the public name and the next number."""
        found = self._ask("GET", f"/{quote(self._name, safe='')}__*/_settings/index.uuid?expand_wildcards=all")
        numbers = [int(match[1]) for index in found.part() if (match := self._version.fullmatch(index))]
        return f"{self._name}__{max(numbers, default=0) + 1}"

    def check(self) -> str:
        """Return what a person should know of the public name; raises PlanError where it is taken by something else."""
        concrete, holders = self._holders()
        others = [self._name] if concrete else [holder for holder in holders if not self._version.fullmatch(holder)]
        if others and not self._placement.replace:
            what = "is an index of its own" if concrete else f"is an alias of {', '.join(others)}"
            raise PlanError(
                "E-ES-ALIAS",
                f"{self._name} {what}, and versioned puts an alias in its place; replace: true lets it"
                f"{' be deleted' if concrete else ' go'} as the alias is published",
            )
        if concrete:
            return f"index {self._name} will be deleted when the alias of the same name is published"
        return ""

    def publish(self, index: str) -> str:
        """Readers of the public name see this index and no other: one call, atomic for them (R89)."""
        self.check()
        concrete, holders = self._holders()
        actions: list[dict[str, Any]] = [{"remove_index": {"index": self._name}}] if concrete else []
        actions += [{"remove": {"index": holder, "alias": self._name}} for holder in holders if holder != index]
        actions += [{"add": {"index": index, "alias": self._name, "is_write_index": True}}]
        if holders != [index]:
            answer = self._change("POST", "/_aliases", {"actions": actions}, allowed=(400,))
            if answer.status == 400:
                reasons = "; ".join(answer.fault().reasons) or answer.fault().text
                raise PermanentError("E-ES-ALIAS", f"alias {self._name} cannot be set to {index}: {reasons}")
            if (found := self._holders()) != (False, [index]):
                raise PermanentError(
                    "E-ES-ALIAS", f"alias {self._name} was set to {index}, but is of {', '.join(found[1]) or 'none'}"
                )
        return f"{self._name} -> {index}"

    def _holders(self) -> tuple[bool, list[str]]:
        """Return whether an index bears the name itself, and the indices the name is an alias of."""
        answer = self._ask("GET", "/" + quote(self._name, safe=""), allowed=(404,))
        if answer.status == 404:
            if not answer.fault().no_index:
                raise answer.unclear(f"what {self._name} is")
            return False, []
        names = list(answer.part())
        return (True, []) if names == [self._name] else (False, sorted(names))

    # --- settings for the load ----------------------------------------------------------------------------------------

    def tune(self, index: str, described: Mapping[str, Any]) -> None:
        """The index has its settings for the load; those from before are on record in the index itself (R86)."""
        wanted = {
            "refresh_interval": self._placement.load_refresh_interval,
            "number_of_replicas": self._placement.load_replicas,
        }
        wanted = {name: value for name, value in wanted.items() if value is not None}
        if not wanted:
            return
        meta = _meta(described)
        if meta.get(_META, {}).get(_BEFORE) is None:
            # Recorded first: a crash between the two calls restores what has not changed yet.
            before = {name: settings(described).get(name) for name in wanted}
            self._keep_meta(index, {**meta, _META: {**meta.get(_META, {}), _BEFORE: before}})
        self._set(index, wanted)

    def restore(self, index: str) -> None:
        """The index has its settings from before the load, whichever run changed them; one that is absent had none."""
        answer = self._ask("GET", "/" + quote(index, safe=""), allowed=(404,))
        if answer.status == 404 and answer.fault().no_index:
            return
        meta = _meta(answer.part(index))
        before = meta.get(_META, {}).get(_BEFORE)
        if before is None:
            return
        self._set(index, before)
        # Null, not left out: whether a server merges _meta or replaces it, nothing to restore is left.
        self._keep_meta(index, {**meta, _META: {**meta[_META], _BEFORE: None}})

    def _set(self, index: str, wanted: Mapping[str, Any]) -> None:
        answer = self._change("PUT", f"/{quote(index, safe='')}/_settings", {"index": wanted}, allowed=(400,))
        if answer.status == 400:
            reasons = "; ".join(answer.fault().reasons) or answer.fault().text
            raise PermanentError("E-ES-SETTINGS", f"index {index}: {', '.join(wanted)} cannot be set: {reasons}")

    def _keep_meta(self, index: str, meta: Mapping[str, Any]) -> None:
        self._change("PUT", f"/{quote(index, safe='')}/_mapping", {"_meta": meta})

    # --- the audit ----------------------------------------------------------------------------------------------------

    def audit(self, index: str) -> Sequence[str]:
        """Return why readers of the index would not find all that it holds."""
        faults: list[str] = []
        path = "/" + quote(index, safe="")
        if _meta(self._described(index)).get(_META, {}).get(_BEFORE) is not None:
            faults.append(f"index {index} still has the settings of the load; run backfill again, which restores them")
        if self._placement.load_replicas is not None:
            target = f"/_cluster/health{path}?wait_for_status=green&timeout={_HEALTH_WAIT}"
            answer = self._ask("GET", target, allowed=(408,))
            if (status := answer.part("status")) != "green":
                faults.append(f"index {index} is {status}: not every replica is there")
        if not self._placement.accept_ignored:
            self._ask("POST", path + "/_refresh")
            query = {"query": {"exists": {"field": "_ignored"}}}
            answer = self._ask("POST", path + "/_count", query)
            if answer.part("_shards", "failed"):
                raise answer.unclear(f"how many documents of {index} have ignored fields")
            if ignored := answer.part("count"):
                faults.append(
                    f"index {index} has fields that are kept but cannot be searched, such as keywords over"
                    f" ignore_above, in documents: {ignored} (accept_ignored: true accepts this)"
                )
        return tuple(faults)

    def _described(self, index: str) -> Mapping[str, Any]:
        described: Mapping[str, Any] = self._ask("GET", "/" + quote(index, safe="")).part(index)
        return described

    def _change(self, method: str, target: str, body: Any, *, allowed: Sequence[int] = ()) -> Answer:
        data = orjson.dumps(body)
        return self._cluster.ask(method, target, data, deadline_s=self._deadline_s, fence=self._fence, allowed=allowed)

    def _ask(self, method: str, target: str, body: Any = None, *, allowed: Sequence[int] = ()) -> Answer:
        data = None if body is None else orjson.dumps(body)
        return self._cluster.ask(method, target, data, deadline_s=self._deadline_s, allowed=allowed)


def _meta(described: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = described.get("mappings", {}).get("_meta", {})
    return found
