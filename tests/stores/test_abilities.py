"""The abilities of targets: a class has one by inheriting it, and by nothing else."""

from __future__ import annotations

import pytest

from flows.plan import plugins
from stores.contract.target import ABILITIES, Countable, Listable, undeclared, unfinished
from stores.error_codes import target_codes
from stores.memory import MemoryTarget


@pytest.mark.parametrize("ability", ABILITIES, ids=lambda ability: ability.__name__)
def test_what_an_ability_asks_for_is_no_ability(ability: type) -> None:
    names = sorted(unfinished(ability))
    assert names
    alike = type("Alike", (), dict.fromkeys(names))
    assert not issubclass(alike, ability)
    (sentence,) = [told for told in undeclared(alike) if f"is {ability.__name__}," in told]
    assert all(f"`{name}`" in sentence for name in names)
    heir = type("Heir", (ability,), dict.fromkeys(names))
    assert issubclass(heir, ability)
    assert not unfinished(heir)
    assert not any(f"is {ability.__name__}," in told for told in undeclared(heir))


def test_a_method_of_the_name_count_makes_no_target_countable() -> None:
    class Visited(MemoryTarget):
        def count(self) -> int:
            return 7

    target = Visited(MemoryTarget.Connection(), MemoryTarget.Placement(), "route")
    assert isinstance(target, Listable)
    assert not isinstance(target, Countable)


def test_a_part_of_an_ability_is_none() -> None:
    class Limited(MemoryTarget):
        def limited(self) -> bool:
            return True

    assert undeclared(Limited) == []


@pytest.mark.parametrize("name", sorted(target_codes()))
def test_the_targets_here_inherit_whole_abilities(name: str) -> None:
    target = plugins.target_type(name)
    assert isinstance(target, type)
    assert (unfinished(target), undeclared(target)) == ([], [])
