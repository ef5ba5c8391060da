"""What a cluster is asked before documents are written: which product answers, what an index is, that it is made."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import orjson

from stores.contract.fence import Fence
from stores.elasticsearch.client import Cluster
from stores.elasticsearch.index import IndexPlan
from stores.errors import PlanError

_HIGHEST_PRIORITY = 2**31 - 1
_OLDEST = {"elasticsearch": 8, "opensearch": 2}
"""The oldest major version of each product that is taken."""


def path(index: str) -> str:
    """Return the path of an index."""
    return "/" + quote(index, safe="")


def require_pipeline(cluster: Cluster, name: str, deadline_s: float) -> None:
    """Return if there is an ingest pipeline of this name; raises PlanError otherwise."""
    target = "/_ingest/pipeline/" + quote(name, safe="")
    if cluster.ask("GET", target, deadline_s=deadline_s, allowed=(404,)).status == 404:
        raise PlanError("E-ES-PIPELINE", f"there is no ingest pipeline {name!r}; make it, or correct `pipeline`")


def server_version(cluster: Cluster, deadline_s: float) -> tuple[int, int]:
    """Return major and minor version; raises PlanError for another product than the plan's, or too old a version."""
    answer = cluster.ask("GET", "/", deadline_s=deadline_s, allowed=(400, 404, 405))
    number = re.match(r"(\d+)\.(\d+)", str(answer.part("version", "number", default="")))
    product = str(answer.part("version", "distribution", default=answer.product)) or "something nameless"
    shown = f"{product} {number[0] if number else ''}".rstrip()
    found = (int(number[1]), int(number[2])) if number else (0, 0)
    if cluster.opensearch and found == (7, 10):
        # What OpenSearch before 3 says of itself when told to pass for Elasticsearch (R87).
        found = (2, 0)
    wanted, other = ("opensearch", "elasticsearch") if cluster.opensearch else ("elasticsearch", "opensearch")
    if product.lower() != wanted or found[0] < _OLDEST[wanted]:
        served = "OpenSearch 2 or 3" if cluster.opensearch else "Elasticsearch 8 or 9"
        # The other flavour is advice only where it then takes this server.
        takes = product.lower() == other and found[0] >= _OLDEST[other]
        advice = f"set flavour: {other}" if takes else "correct `url` under the target"
        raise PlanError("E-ES-PRODUCT", f"{cluster.name}: {shown} answers; it must be {served}; {advice}")
    return found


def inspect(
    cluster: Cluster,
    plan: IndexPlan,
    index: str,
    version: tuple[int, int],
    deadline_s: float,
    *,
    undecided: bool = False,
) -> Mapping[str, Any] | None:
    """Return the index as the server describes it, None for none; raises PlanError with all its faults."""
    answer = cluster.ask("GET", path(index), deadline_s=deadline_s, allowed=(404,))
    if answer.status == 404 and answer.fault().no_index:
        return None
    if not isinstance(answer.content, dict) or answer.status == 404:
        raise answer.unclear(f"what index {index} is")
    if list(answer.content) != [index]:
        raise PlanError(
            "E-ES-INDEX",
            f"{index} is an alias or data stream of {', '.join(answer.content)}; name the index itself in the"
            " route's `index`",
        )
    found: Mapping[str, Any] = answer.content[index]
    if faults := plan.source_faults(found, version):
        raise PlanError(
            "E-ES-SRC", f"index {index} would not return what is written to it: {faults}; name another index"
        )
    if faults := plan.faults(found, undecided=undecided):
        raise PlanError("E-ES-INDEX", f"index {index} differs from the plan: {faults}; change the plan or the index")
    return found


def exists(cluster: Cluster, index: str, deadline_s: float) -> bool:
    """Return whether there is an index, an alias or a data stream of this name."""
    return cluster.ask("GET", path(index), deadline_s=deadline_s, allowed=(404,)).status != 404


def refuse_mapping(cluster: Cluster, plan: IndexPlan, version: tuple[int, int], deadline_s: float) -> None:
    """Raise PlanError if no index can be made with the plan's mapping, as far as the server says without making one.

    It is asked what a template of this content would make, which changes nothing; a login that may not ask is told
    nothing. A template of so high a priority collides with none.
    """
    made = orjson.loads(plan.creation(version))
    template = {"settings": made["settings"], "mappings": made["mappings"]}
    body = orjson.dumps({"index_patterns": [plan.name], "priority": _HIGHEST_PRIORITY, "template": template})
    answer = cluster.ask(
        *("POST", "/_index_template/_simulate", body), deadline_s=deadline_s, allowed=(400, 401, 403, 404, 405)
    )
    if answer.status == 400 and "mapper_parsing_exception" in answer.fault().kinds:
        # No document is in this request, so that the server's own words may be shown.
        reasons = "; ".join(dict.fromkeys(answer.fault().reasons))
        raise PlanError("E-ES-INDEX", f"index {plan.name} cannot be made: {reasons}; correct the route's `mapping`")


def create(
    cluster: Cluster, plan: IndexPlan, index: str, version: tuple[int, int], deadline_s: float, fence: Fence
) -> None:
    """The index is there, made by this call or by somebody else; raises PlanError if it cannot be made."""
    body = plan.creation(version)
    answer = cluster.ask("PUT", path(index), body, deadline_s=deadline_s, fence=fence, allowed=(400,))
    # Somebody else, or an attempt of ours whose answer was lost, made it: it is inspected like any other.
    if answer.status == 400 and "resource_already_exists_exception" not in answer.fault().kinds:
        # No document is in this request, so that the server's own words may be shown.
        reasons = "; ".join(answer.fault().reasons) or answer.fault().text
        raise PlanError("E-ES-INDEX", f"index {index} cannot be made: {reasons}; correct the route's placement")
