"""R1, R2: the table of fates is what happens, and it has every type BSON has."""

from __future__ import annotations

import dataclasses

import pytest

from mappers.documents.decoding import TYPE_NAMES
from mappers.policies import LOSSES, HashPolicies, IndexPolicies, ItemPolicies, JsonPolicies
from mappers.type_matrix import FORMS, TABLE, Form, Row, declared, fate, stored


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.type)
def test_a_value_has_the_fate_the_table_promises(row: Row, form: Form) -> None:
    assert fate(row, form) == declared(row, form)


def test_every_bson_type_has_a_row() -> None:
    shown = {TYPE_NAMES[stored(row)[4]] for row in TABLE}
    assert shown == set(TYPE_NAMES.values())


def test_every_policy_that_a_row_names_exists_and_every_kind_of_loss_is_described_once() -> None:
    known = {
        each.name
        for kind in (ItemPolicies, JsonPolicies, IndexPolicies, HashPolicies)
        for each in dataclasses.fields(kind)
    }
    named = {word.strip("`") for row in TABLE for word in row.note.split() if word.startswith("`")} - {"N"}
    assert named <= known
    assert known - named == {"depth_overflow", "name_escape"}, "about objects, not about a type"
    assert len(set(LOSSES.values())) == len(LOSSES)
