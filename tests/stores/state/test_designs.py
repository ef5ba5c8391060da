"""A design and the state of a load are for the plan they were made for."""

from __future__ import annotations

from states import begun

from stores.state.state import State


def test_a_design_is_kept_for_the_plan_it_was_made_for_until_forgotten(state: State) -> None:
    lease = begun(state)
    assert state.designs.get("orders") is None
    state.designs.save(lease, {"b": 1, "a": 2}, {"properties": {}})
    assert state.designs.get("orders") == state.designs.get("orders", {"a": 2, "b": 1}) == {"properties": {}}
    assert state.designs.get("orders", {"a": 2, "b": 3}) is None
    assert state.designs.get("sessions") is None
    state.designs.save(lease, {}, {"index": "orders__2"})
    assert state.designs.get("orders") == {"index": "orders__2"}
    state.partitions.forget(lease)
    assert state.designs.get("orders") is None
