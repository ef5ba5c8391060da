"""The ledger balances what is expected against what is listed, whatever the order, the repeats and the bytes."""

from __future__ import annotations

import resource
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.ledger import SAMPLES, Finding, Ledger

addresses = st.text(max_size=6) | st.sampled_from(["a", "b", "\udcff", "é", ""])
findings = st.lists(st.tuples(addresses, st.sampled_from(list(Finding))), max_size=40)


@given(findings, st.lists(addresses, max_size=40))
def test_the_sums_are_those_of_plain_sets(
    tmp_path_factory: pytest.TempPathFactory, expected: list[tuple[str, Finding]], listed: list[str]
) -> None:
    ledger = Ledger(tmp_path_factory.mktemp("ledger"))
    for at in range(0, len(expected), 3):
        ledger.expect(expected[at : at + 3])
    ledger.list(listed)
    balance = ledger.balance(listed=True)
    best: dict[str, Finding] = {}
    for address, finding in expected:
        best[address] = min(finding, best.get(address, finding))
    kinds = Counter(best.values())
    assert balance.records == len(expected)
    assert balance.held == kinds[Finding.SAME] + kinds[Finding.DIFFERS]
    assert (balance.differs, balance.missing) == (kinds[Finding.DIFFERS], kinds[Finding.MISSING])
    assert (balance.expired, balance.refused) == (kinds[Finding.EXPIRED], kinds[Finding.REFUSED])
    assert balance.collides == len(expected) - len(best)
    assert balance.extra == len(set(listed) - set(best))
    assert balance.listed == len(set(listed))
    total = balance.held + balance.missing + balance.collides + balance.expired + balance.refused
    assert total == balance.records


def test_what_was_not_listed_is_not_checked(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.expect([("a", Finding.SAME)])
    balance = ledger.balance(listed=False)
    assert balance.extra is None
    assert balance.listed is None
    assert balance.held == 1


def test_samples_are_few_and_name_the_address(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.expect((f"a{number}", Finding.MISSING) for number in range(500))
    balance = ledger.balance(listed=False)
    assert balance.missing == 500
    assert len(balance.samples["missing"]) == SAMPLES
    assert all(address.startswith("a") for address in balance.samples["missing"])


def test_more_than_memory_gathers_is_kept_in_files(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    for number in range(300):
        ledger.expect([(f"{number} {'x' * 5000}", Finding.SAME)] * 2)
    assert list(tmp_path.iterdir())
    balance = ledger.balance(listed=False)
    assert (balance.records, balance.held, balance.collides) == (600, 300, 300)


def test_a_pass_needs_no_more_open_files_than_a_system_allows(tmp_path: Path) -> None:
    """The demo's eight routes at once, under the least limit of files a system still gives (256)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 64
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(used + 32, soft), hard))
    try:
        ledgers = [Ledger(tmp_path / str(number)) for number in range(8)]
        for number, ledger in enumerate(ledgers):
            (tmp_path / str(number)).mkdir()
            ledger.expect((f"{number} {at} {'x' * 200}", Finding.SAME) for at in range(60_000))
        assert [ledger.balance(listed=False).held for ledger in ledgers] == [60_000] * 8
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
