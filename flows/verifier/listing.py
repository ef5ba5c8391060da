"""What the target lists, for the ledgers of a pass."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from functools import partial

from flows.copying.projection import Projection
from flows.verifier.ledger import Mismatch
from flows.verifier.part_ledger import PartLedger
from flows.verifier.sketch import hasher
from mappers.contract import Record
from stores.contract.stop import NEVER, Stop
from stores.contract.target import Divided, Listable, Relisting, Target

_AT_ONCE = 1_000


def list_share(
    target: Target[Record],
    note: Callable[[Sequence[str]], object],
    share: int = 0,
    shares: int = 1,
    *,
    stop: Stop = NEVER,
    anew: Callable[[], object] = lambda: None,
) -> bool:
    """The addresses that the target lists, if it can, are noted, many at a time; returns False when `stop` ended it.

    `anew` is called if the listing has to begin anew: all that was noted is then noted again.
    """
    page: list[str] = []

    def begin_anew() -> None:
        page.clear()
        anew()

    addresses: Iterator[str] = iter(())
    if shares > 1 and isinstance(target, Divided):
        addresses = target.addresses_of(share, shares)
    elif isinstance(target, Relisting):
        addresses = target.addresses_anew(begin_anew)
    elif isinstance(target, Listable):
        addresses = target.addresses()
    for address in addresses:
        page.append(address)
        if len(page) >= _AT_ONCE:
            if stop.is_set():
                return False
            note(page)
            page.clear()
    note(page)
    return True


def lists_once(target: Target[Record]) -> bool:
    """Return whether the target lists no address twice."""
    return isinstance(target, Listable) and target.lists_once


def list_for_pass(
    target: Target[Record],
    projection: Projection,
    ledger: PartLedger,
    share: int = 0,
    shares: int = 1,
    *,
    stop: Stop = NEVER,
) -> bool:
    """The ledger has the addresses of a share; returns False when `stop` ended it.

    The share is listed a second time where two documents may have one address and the target may list it twice: one
    would hide the other.
    """
    if not list_share(target, ledger.list, share, shares, stop=stop, anew=ledger.forget_listed):
        return False
    if not isinstance(target, Listable) or lists_once(target) or projection.keeps_ids_apart:
        return True
    anew = partial(ledger.forget_listed, again=True)
    return list_share(target, ledger.list_again, share, shares, stop=stop, anew=anew)


def list_suspects(
    target: Target[Record],
    ledger: PartLedger,
    hashes: frozenset[int],
    expected: Container[str],
    share: int = 0,
    shares: int = 1,
    *,
    stop: Stop = NEVER,
) -> bool:
    """The ledger looks at each suspect address of a share that is listed and not expected; see `list_for_pass`."""
    hash_of = hasher(ledger.shape.key)
    seen: set[str] = set()

    def note(addresses: Sequence[str]) -> None:
        for address in addresses:
            if hash_of(address) in hashes and address not in expected and address not in seen:
                seen.add(address)
                ledger.suspect(Mismatch("extra", address))

    return list_share(target, note, share, shares, stop=stop)
