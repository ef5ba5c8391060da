"""A fingerprint has digests of what may be secret: slow and salted ones, and those of an earlier state beside them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from flows.plan.load import load
from flows.plan.model import Route

_PLAN = """
source: {uri: "mongodb://h", database: shop}
targets: {redis: {url: "redis://h"}}
routes:
  a:
    target: redis
    key: "a:{_id}"
    use: own.py:mapped
    options: {pin: "${PIN}", unit: km}
    where: {tenant: "${PIN}"}
    transforms: [{hash: {fields: [name], salt: "${SALT}"}}]
  b: {target: redis, key: "b:{_id}", use: "own.py:mapped", options: {pin: "${PIN}"}, collection: other}
"""


@pytest.fixture
def routes(tmp_path: Path) -> dict[str, Route]:
    (tmp_path / "own.py").write_text("def mapped(document, pin, unit='m'):\n    return []\n")
    (tmp_path / "plan.yaml").write_text(_PLAN)
    return dict(load(tmp_path / "plan.yaml", {"PIN": "4711", "SALT": "sixteen bytes or more"}).routes)


def test_what_may_be_secret_is_a_salted_slow_digest(routes: dict[str, Route]) -> None:
    made, other = routes["a"].fingerprint(), routes["b"].fingerprint()
    for text in (made["where"], made["transforms"], made["options"]["pin"]):
        assert text.startswith("scrypt:")
    assert made["options"]["unit"] == "km"
    assert made == routes["a"].fingerprint()
    assert made["options"]["pin"] != other["options"]["pin"]
    assert hashlib.sha256(json.dumps("4711").encode()).hexdigest() not in json.dumps(made)


def test_a_state_of_an_earlier_release_is_compared_by_its_own_digests(routes: dict[str, Route]) -> None:
    def former(value: Any) -> str:
        return f"sha256:{hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()}"

    route = routes["a"]
    transforms = [{"hash": {"fields": ["name"], "salt": "sixteen bytes or more"}}]
    earlier = {
        **route.fingerprint(),
        "where": former('{"tenant": "4711"}'),
        "transforms": former(transforms),
        "options": {"pin": former("4711"), "unit": "km"},
    }
    assert route.fingerprint(earlier) == earlier
    changed = {**earlier, "options": {"pin": former("4712"), "unit": "km"}}
    assert route.fingerprint(changed) != changed
