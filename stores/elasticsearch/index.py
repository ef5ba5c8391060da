"""What one route's index must be: its name and mapping, and every way in which an index that exists differs."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from typing import Any

import orjson

from mappers.elasticsearch.mapping import DATE, FIELD_LIMIT, FLATTENED, KEYWORD
from mappers.elasticsearch.records import FULL_ID, RAW
from stores.elasticsearch.configuration import Placement, name_fault
from stores.elasticsearch.field_types import unknown_type

_NUMBERS = ("byte", "short", "integer", "long", "half_float", "float", "double")
_SHORTHANDS: Mapping[str, Mapping[str, Any]] = {
    # 8,191 characters are at most 32,764 bytes; a longer term than 32,766 rejects the document (R84).
    "keyword": KEYWORD,
    "flattened": FLATTENED,
    "date": DATE,
    # Without this 1.7 is indexed as 1, and "12" as 12, in silence (R81).
    **{name: {"type": name, "coerce": False} for name in _NUMBERS},
}
# From this version on, vectors are left out of `_source` unless the index was made to keep them.
_HIDES_VECTORS = (9, 2)
_VECTORS = frozenset({"dense_vector", "rank_vectors", "semantic_text", "sparse_vector"})
# OpenSearch from this version on rebuilds vectors of `_source` from what it indexed, unless told not to.
_REBUILDS_VECTORS = (3, 0)
_KNN = frozenset({"knn_vector"})
_KNN_REBUILT = "knn.derived_source.enabled"
# What each of the two calls a type that the other lacks.
_OPENSEARCH_NAMES = {"flattened": "flat_object", "dense_vector": "knn_vector"}
_ELASTICSEARCH_NAMES = {name: other for other, name in _OPENSEARCH_NAMES.items()}


class IndexPlan:
    """One index as the plan wants it."""

    def __init__(self, name: str, placement: Placement, *, opensearch: bool = False) -> None:
        """Take name and placement; raises ValueError for what no index can be."""
        if fault := name_fault(name):
            raise ValueError(f"index {name!r}: {fault}; name another in the route's `index`")
        if placement.shards < 1 or placement.replicas < 0:
            raise ValueError(f"index {name!r}: an index has at least 1 shard and 0 replicas")
        if placement.load_replicas is not None and placement.load_replicas < 0:
            raise ValueError("load_replicas: an index has at least 0 replicas")
        interval = placement.load_refresh_interval
        if interval is not None and not re.fullmatch(r"-1|\d+(ms|s|m|h)", interval):
            raise ValueError("load_refresh_interval: write -1 for none, or a time such as 30s")
        if placement.replace and not placement.versioned:
            raise ValueError("replace: is only for a versioned index; set versioned: true")
        if placement.versioned and (placement.alias or "{" in (placement.index or "")):
            raise ValueError("versioned: an index named by a date has no versions; remove it")
        if placement.alias is not None:
            if "{" not in (placement.index or ""):
                raise ValueError("alias: is only for an index named by a date, such as logs-{at:%Y.%m}")
            if fault := name_fault(placement.alias):
                raise ValueError(f"alias: {fault}")
        if placement.pipeline in ("", "_none"):
            raise ValueError("pipeline: is empty; name a pipeline, or remove the key")
        if placement.versioned and len(name.encode()) > 240:
            raise ValueError(f"index {name!r}: is too long to add a version to; choose a name of at most 240 bytes")
        self.name = name
        self._placement = placement
        self._opensearch = opensearch
        self._properties = _properties(placement.mapping)
        unknown = _ELASTICSEARCH_NAMES if not opensearch else _OPENSEARCH_NAMES
        for path, kind in _types(self._properties).items():
            if kind in unknown:
                flavour = "opensearch" if opensearch else "elasticsearch"
                raise ValueError(f"mapping: {path} is {kind}, which is {unknown[kind]} in flavour: {flavour}")
        self._designed = False

    def following(self, design: Mapping[str, Any]) -> IndexPlan:
        """Return the plan of the index that this design makes; what the plan maps itself wins over the census."""
        made = IndexPlan(self.name, self._placement, opensearch=self._opensearch)
        made.name = design.get("index") or self.name
        if "properties" in design:
            seen = _in_opensearch(design["properties"]) if self._opensearch else design["properties"]
            made._properties = _merged(seen, self._properties)
            made._designed = True
        return made

    @property
    def _dynamic(self) -> str:
        return self._placement.dynamic or ("strict" if self._designed else "false")

    def creation(self, version: tuple[int, int]) -> bytes:
        """Return the body that makes the index."""
        index: dict[str, Any] = {
            "number_of_shards": self._placement.shards,
            "number_of_replicas": self._placement.replicas,
        }
        if not self._opensearch and version >= _HIDES_VECTORS and _holds(_VECTORS, self._properties):
            index["mapping"] = {"exclude_source_vectors": False}
        if self._opensearch and _holds(_KNN, self._properties):
            index["knn"] = True
            if version >= _REBUILDS_VECTORS:
                index[_KNN_REBUILT] = False
        properties = dict(self._properties)
        if self._dynamic == "strict":
            properties.setdefault(FULL_ID, dict(_SHORTHANDS["keyword"]))
            properties.setdefault(RAW, {"type": "binary"})  # Neither searchable nor kept in columns.
        if (count := len(_types(properties))) > FIELD_LIMIT:
            index.setdefault("mapping", {})["total_fields"] = {"limit": count}
        mappings: dict[str, Any] = {
            "dynamic": self._dynamic,
            "date_detection": False,
            "numeric_detection": False,
            "properties": properties,
        }
        if self._placement.routing is not None:
            # Or a document written without routing would lie where no read of ours looks (R85).
            mappings["_routing"] = {"required": True}
        aliases: dict[str, Any] = {} if self._placement.alias is None else {self._placement.alias: {}}
        return orjson.dumps({"settings": {"index": index}, "mappings": mappings, "aliases": aliases})

    def unreplicated(self, described: Mapping[str, Any] | None) -> bool:
        """Return whether the index that exists, or else the index to be made, has no second copy."""
        found = self._placement.replicas if described is None else settings(described).get("number_of_replicas")
        return str(found) == "0"

    def source_faults(self, described: Mapping[str, Any], version: tuple[int, int]) -> str:
        """Return why `_source` would not be what was written, "" if it would (R20)."""
        chosen, mappings = settings(described), described.get("mappings", {})
        source, kept = mappings.get("_source", {}), chosen.get("mapping", {})
        # These index modes rebuild _source from the indexed fields unless it is stored on request.
        rebuilt = chosen.get("mode") in ("logsdb", "time_series")
        mode = kept.get("source", {}).get("mode") or source.get("mode") or ("synthetic" if rebuilt else "stored")
        faults = [] if str(mode).lower() == "stored" else [f"its _source is {mode}"]
        if str(source.get("enabled", True)).lower() == "false":
            faults.append("its _source is disabled")
        faults += [f"its _source {names} fields" for names in ("includes", "excludes") if source.get(names)]
        properties = mappings.get("properties", {})
        if self._opensearch:
            flat = _flat(chosen)
            if str(flat.get("derived_source.enabled", False)).lower() == "true":
                faults.append("its _source is derived")
            vectors = version >= _REBUILDS_VECTORS and _holds(_KNN, properties)
            if vectors and str(flat.get(_KNN_REBUILT, True)).lower() != "false":
                faults.append(f"it rebuilds vectors of _source (index.{_KNN_REBUILT} is not false)")
            return ", ".join(faults)
        vectors = version >= _HIDES_VECTORS and _holds(_VECTORS, properties)
        if vectors and str(kept.get("exclude_source_vectors", True)).lower() != "false":
            faults.append("it leaves vectors out of _source (index.mapping.exclude_source_vectors is not false)")
        return ", ".join(faults)

    def faults(self, described: Mapping[str, Any], *, undecided: bool = False) -> str:
        """Return every other way in which the index differs from the plan, "" for none.

        `undecided`: a design may still come, so that what the plan does not say itself is no difference.
        """
        chosen, mappings = settings(described), described.get("mappings", {})
        faults = []
        dynamic = str(mappings.get("dynamic", "true")).lower()
        coming = undecided and self._placement.dynamic is None and dynamic == "strict"
        if dynamic != self._dynamic and not coming:
            faults.append(f"dynamic is {dynamic}, the plan says {self._dynamic}")
        found = _types(mappings.get("properties", {}))
        faults += [
            f"{path} is {found.get(path, 'not mapped')}, the plan says {wanted}"
            for path, wanted in _types(self._properties).items()
            if found.get(path) != wanted
        ]
        faults += [
            f"its {pipeline} {chosen[pipeline]} may change documents"
            for pipeline in ("default_pipeline", "final_pipeline")
            # A request that names a pipeline passes by the default one, not by the final one.
            if chosen.get(pipeline, "_none")
            not in ("_none", self._placement.pipeline if pipeline == "default_pipeline" else None)
        ]
        required = str(mappings.get("_routing", {}).get("required", False)).lower() == "true"
        if required != (self._placement.routing is not None):
            faults.append("it requires routing" if required else "it does not require routing, the plan has one")
        if self._placement.alias is not None and self._placement.alias not in described.get("aliases", {}):
            faults.append(f"it does not have the alias {self._placement.alias}")
        faults += [
            f"it rolls over ({name}), which moves the index that is written to"
            for name, value in _flat(chosen).items()
            if name.endswith("rollover_alias") and value
        ]
        if str(chosen.get("translog", {}).get("durability", "request")).lower() != "request":
            faults.append("its translog durability is async, so a crash loses acknowledged writes")
        return ", ".join(faults)


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of both; of a field in both, the one of `above`; objects have their fields merged."""
    made = dict(below)
    for name, definition in above.items():
        found = made.get(name, {})
        if "properties" in found and set(definition) == {"properties"}:
            made[name] = {**found, "properties": _merged(found["properties"], definition["properties"])}
        else:
            made[name] = definition
    return made


def settings(described: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the settings of an index as the server describes it."""
    found: Mapping[str, Any] = described.get("settings", {}).get("index", {})
    return found


def _properties(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """Return `properties` with dotted paths nested; raises ValueError for paths that contradict each other."""
    root: dict[str, Any] = {}
    named = {path: wanted for path, wanted in sorted(mapping.items()) if isinstance(wanted, str)}
    if unknown := [f"{path} is {wanted}: {fault}" for path, wanted in named.items() if (fault := unknown_type(wanted))]:
        raise ValueError(f"mapping: {'; '.join(unknown)}")
    for path, wanted in sorted(mapping.items()):  # "a" comes before "a.b"
        *above, name = path.split(".")
        fields = root
        for part in above:
            parent = fields.setdefault(part, {})
            if parent.get("type", "object") not in ("object", "nested"):
                raise ValueError(f"mapping {path!r}: {part} is mapped as {parent['type']}, which has no fields")
            fields = parent.setdefault("properties", {})
        if not all((*above, name)):
            raise ValueError(f"mapping {path!r}: a part of the path is empty")
        if name in fields:
            raise ValueError(f"mapping {path!r}: mapped twice")
        if isinstance(wanted, Mapping):
            fields[name] = copy.deepcopy(dict(wanted))
        elif isinstance(wanted, str):
            fields[name] = dict(_SHORTHANDS.get(wanted, {"type": wanted}))
        else:
            raise ValueError(f"mapping {path!r}: is neither the name of a type nor a mapping object")
    return root


def _types(properties: Mapping[str, Any], above: str = "") -> dict[str, str]:
    """Return the type of every field path, multi-fields among them."""
    types: dict[str, str] = {}
    for name, definition in properties.items():
        types[above + name] = str(definition.get("type", "object"))
        for inner in ("properties", "fields"):
            types.update(_types(definition.get(inner, {}), f"{above}{name}."))
    return types


def _holds(kinds: frozenset[str], properties: Mapping[str, Any]) -> bool:
    return not kinds.isdisjoint(_types(properties).values())


def _in_opensearch(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return a census's fields with the types that OpenSearch knows."""
    made: dict[str, Any] = {}
    for name, definition in properties.items():
        if definition.get("type") == "flattened":
            made[name] = {"type": "flat_object"}
        elif "properties" in definition:
            made[name] = {**definition, "properties": _in_opensearch(definition["properties"])}
        else:
            made[name] = definition
    return made


def _flat(found: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Return settings by their whole names; servers tell them nested, or in part."""
    flat: dict[str, Any] = {}
    for name, value in found.items():
        flat |= _flat(value, f"{above}{name}.") if isinstance(value, Mapping) else {above + name: value}
    return flat
