"""What a census does with documents that it cannot count: a fault is named, a document too deep is a reject."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from plans import Stores, write_plan

from flows.connect.design import design_place
from flows.plan.load import load
from mappers.census import Census
from mappers.contract import Document
from stores.errors import PermanentError
from stores.memory import MemorySource

NOWHERE = Stores("mongodb://127.0.0.1:1", "", "", "http://127.0.0.1:1")


def test_a_census_that_fails_names_the_document_and_the_cause(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def add(census: Census, document: Document) -> None:
        if document.get("card"):
            raise RuntimeError(f"secret {document['card']}")
        census.documents += 1

    monkeypatch.setattr(Census, "add", add)
    route = load(write_plan(tmp_path, NOWHERE, "shop", {"things": {"use_case": "search"}})).routes["things"]
    documents: list[dict[str, Any]] = [{"_id": number, "card": "4111" if number == 7 else None} for number in range(9)]
    with pytest.raises(
        PermanentError, match=r"document n:7: .*RuntimeError at test_design.py line \d+; exclude"
    ) as failed:
        design_place(route, MemorySource(documents), route.target())
    assert failed.value.code == "E-CENSUS"
    assert "secret" not in str(failed.value)
    assert "4111" not in str(failed.value)


def test_a_document_too_deep_to_be_mapped_does_not_end_the_census(tmp_path: Path) -> None:
    deep: Any = 1
    for _ in range(400):
        deep = {"o": [deep]}
    route = load(write_plan(tmp_path, NOWHERE, "shop", {"things": {"use_case": "search"}})).routes["things"]
    design = design_place(route, MemorySource([{"_id": 1, "deep": deep}, {"_id": 2, "name": "a"}]), route.target())
    assert design is not None
    assert "name" in design["properties"]
