"""The ledger balances what is expected against what is listed, whatever the order, the repeats and the bytes."""

from __future__ import annotations

import resource
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.verifier.ledger import SAMPLES, AddressLog, Balance, Entry, Finding, Mismatch, balance

addresses = st.text(max_size=6) | st.sampled_from(["a", "b", "\udcff", "é", ""])
findings = st.lists(st.builds(Entry, addresses, st.sampled_from(list(Finding)), st.binary(max_size=3)), max_size=40)
WRONG = ("missing", "differs", "inconclusive")


def closed(folder: Path, expected: Sequence[Entry], listed: Sequence[str] | None = None) -> Balance:
    log = AddressLog(folder / "log")
    log.expect(expected)
    log.list(listed or ())
    log.flush()
    return balance([log.path], listed=listed is not None)


@given(findings, st.lists(addresses, max_size=40), st.integers(1, 3))
def test_the_sums_are_those_of_plain_sets(
    tmp_path_factory: pytest.TempPathFactory, expected: list[Entry], listed: list[str], parts: int
) -> None:
    folder = tmp_path_factory.mktemp("ledger")
    logs = [AddressLog(folder / str(number)) for number in range(parts)]
    for at, entry in enumerate(expected):
        logs[at % parts].expect([entry])
        if at % 7 == 0:
            logs[at % parts].flush()
    for at, address in enumerate(listed):
        logs[at % parts].list([address])
    for log in logs:
        log.flush()
    found: list[Mismatch] = []
    sums = balance([log.path for log in logs], listed=True, on_wrong=found.append)
    best: dict[str, Finding] = {}
    for entry in expected:
        best[entry.address] = min(entry.finding, best.get(entry.address, entry.finding))
    kinds = Counter(best.values())
    assert sums.records == len(expected)
    assert sums.held == kinds[Finding.SAME] + kinds[Finding.DIFFERS]
    assert (sums.differs, sums.missing) == (kinds[Finding.DIFFERS], kinds[Finding.MISSING])
    assert (sums.expired, sums.refused) == (kinds[Finding.EXPIRED], kinds[Finding.REFUSED])
    assert sums.inconclusive == kinds[Finding.INCONCLUSIVE]
    assert sums.collides == len(expected) - len(best)
    assert sums.extra == len(set(listed) - set(best))
    assert sums.listed == len(set(listed))
    total = sums.held + sums.missing + sums.collides + sums.expired + sums.refused + sums.inconclusive
    assert total == sums.records
    told = Counter(one.kind for one in found)
    assert all(told[kind] == getattr(sums, kind) for kind in (*WRONG, "extra", "collides"))
    for one in found:
        if one.kind in WRONG:
            assert Entry(one.address, Finding[one.kind.upper()], one.position) in expected


def test_another_look_has_the_last_word(tmp_path: Path) -> None:
    asked: list[Mismatch] = []
    said = {"a": "same", "b": "settled", "c": "missing", "d": "unsettled", "e": "gone", "f": "lapsed", "g": "extra"}

    def look(some: Sequence[Mismatch]) -> Sequence[Mismatch]:
        asked.extend(some)
        return [one._replace(kind=said[one.address]) for one in some]

    log = AddressLog(tmp_path / "log")
    log.expect([Entry("a", Finding.DIFFERS, b"ida"), *(Entry(at, Finding.MISSING, b"x") for at in "bcd")])
    log.expect([Entry("ok", Finding.SAME)])
    log.list(["a", "e", "f", "g", "ok"])
    log.flush()
    found: list[Mismatch] = []
    sums = balance([log.path], listed=True, recheck=look, on_wrong=found.append)
    assert sorted(one.address for one in asked) == list("abcdefg")
    assert sorted(one.address for one in found) == ["c", "d", "g"]
    assert (sums.held, sums.settled, sums.missing, sums.unsettled) == (2, 1, 1, 1)
    assert (sums.extra, sums.lapsed, sums.differs) == (1, 1, 0)


def test_a_log_cut_back_to_where_it_was_flushed_says_what_it_said_then(tmp_path: Path) -> None:
    log = AddressLog(tmp_path / "log")
    log.expect([Entry("a", Finding.SAME), Entry("b", Finding.MISSING, b"idb")])
    size = log.flush()
    log.expect([Entry(f"later {number}", Finding.MISSING) for number in range(5_000)])
    log.flush()
    again = AddressLog(tmp_path / "log", size)
    again.expect([Entry("c", Finding.SAME)])
    again.flush()
    sums = balance([again.path], listed=False)
    assert (sums.records, sums.held, sums.missing) == (3, 2, 1)
    with pytest.raises(ValueError, match="were written"):
        AddressLog(tmp_path / "log", 10**6)
    with pytest.raises(ValueError, match="were written"):
        AddressLog(tmp_path / "lost", 1)


def test_what_was_not_listed_is_not_checked(tmp_path: Path) -> None:
    sums = closed(tmp_path, [Entry("a", Finding.SAME)])
    assert sums.extra is None
    assert sums.listed is None
    assert sums.held == 1


def test_samples_are_few_and_name_the_address(tmp_path: Path) -> None:
    sums = closed(tmp_path, [Entry(f"a{number}", Finding.MISSING) for number in range(500)])
    assert sums.missing == 500
    assert len(sums.samples["missing"]) == SAMPLES
    assert all(address.startswith("a") for address in sums.samples["missing"])


def test_more_than_memory_gathers_is_kept_in_files(tmp_path: Path) -> None:
    log = AddressLog(tmp_path / "log")
    for number in range(300):
        log.expect([Entry(f"{number} {'x' * 5000}", Finding.SAME)] * 2)
    assert (tmp_path / "log").stat().st_size > 0
    log.flush()
    sums = balance([log.path], listed=False)
    assert (sums.records, sums.held, sums.collides) == (600, 300, 300)


def test_a_pass_needs_no_more_open_files_than_a_system_allows(tmp_path: Path) -> None:
    """Many parts at once, under the least limit of files a system still gives (256)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 64
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(used + 16, soft), hard))
    try:
        logs = [AddressLog(tmp_path / str(number)) for number in range(40)]
        for number, log in enumerate(logs):
            log.expect(Entry(f"{number} {at} {'x' * 200}", Finding.SAME) for at in range(5_000))
            log.flush(durable=False)
        assert balance([log.path for log in logs], listed=False).held == 200_000
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
