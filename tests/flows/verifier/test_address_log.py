"""A log of addresses tells what is listed and not expected, whatever the repeats and the bytes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from flows.verifier.address_log import AddressLog

addresses = st.lists(st.text(max_size=6) | st.sampled_from(["a", "b", "\udcff", "é", ""]), max_size=40)


@given(addresses, addresses)
def test_it_says_what_plain_sets_say(expected: list[str], listed: list[str]) -> None:
    with AddressLog() as log:
        log.expect(expected)
        log.list(listed)
        assert sorted(log.extras()) == sorted({*listed} - {*expected})
        assert log.listed() == len({*listed})
        log.expect(listed)
        assert [*log.extras()] == []


def test_more_than_memory_gathers_is_kept_in_the_file() -> None:
    with AddressLog() as log:
        for number in range(300):
            log.list([f"{number} {'x' * 5000}"] * 2)
            log.expect([f"{number} {'x' * 5000}"] if number % 3 else [])
        assert log.listed() == 300
        assert sorted(int(address.split()[0]) for address in log.extras()) == [*range(0, 300, 3)]
