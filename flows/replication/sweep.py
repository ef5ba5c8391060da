"""The sweep: a route begun anew deletes what an earlier run left and its source no longer has (R121)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Container, Sequence
from dataclasses import replace

from flows.connect.session import Session
from flows.copying.own_records import SHOWN, foreign_addresses, is_indistinct
from flows.copying.projection import Projection
from flows.plan.model import Route
from flows.reporting.model import Swept
from flows.verifier.address_log import AddressLog
from flows.verifier.listing import list_share
from mappers.contract import Record
from stores.contract.journal import RejectJournal
from stores.contract.source import Partition, Source
from stores.contract.stop import NEVER, STOPPED, Stop, raise_if_stopped
from stores.contract.target import Listable, Target
from stores.errors import TransientError
from stores.throttling.batches import cut

_log = logging.getLogger(__name__)

_AT_ONCE = 1_000
_STOPPED = "stopped by a signal during its sweep; the same command resumes"


def sweep(session: Session, route: Route, stop: Stop, swept: Callable[[Swept], None] = lambda _: None) -> None:
    """Nothing is left in the route's target of what the route made but what its documents map to; that is on record.

    `swept` is called with what was deleted and left so far. Raises TransientError when `stop` ended it: the same
    command goes on.
    """
    with session.open(route) as opened:
        if isinstance(opened.target, Listable):
            opened.state.verification.abandon(opened.lease)
            done = delete_unmapped(
                *(opened.source, opened.projection, opened.target, opened.journal),
                refused=opened.state.rejects.refused(route.name),
                stop=stop,
                swept=swept,
            )
            _log.info("%s: %d records deleted that an earlier run left", route.name, done.deleted)
            if done.kept:
                _log.warning(
                    "%s: %d records left that are not of this route; its report names some", route.name, done.kept
                )
        else:
            _log.warning("%s: its target cannot list what it holds, so what is gone may be left in it", route.name)
        opened.state.sync_positions.record_sweep(opened.lease)


def delete_unmapped(
    source: Source,
    projection: Projection,
    target: Target[Record],
    journal: RejectJournal,
    *,
    refused: Container[str] = (),
    stop: Stop = NEVER,
    swept: Callable[[Swept], None] = lambda _: None,
) -> Swept:
    """Return what was deleted: addresses to which no document maps now, and whose record the route may have made.

    What becomes of a document after it was read here is for the sync to do again: its position is older. `refused`
    names documents whose records the target did not take: a record at their addresses is older.
    """

    def delete(addresses: Sequence[str]) -> None:
        with journal.writing(()):
            target.delete(addresses)

    return _sweep(source, projection, target, refused, stop, delete, swept)


def count_unmapped(source: Source, projection: Projection, target: Target[Record], *, stop: Stop = NEVER) -> Swept:
    """Return what `delete_unmapped` would delete and leave; writes nothing."""
    return _sweep(source, projection, target, (), stop, lambda _: None, lambda _: None)


def _sweep(
    source: Source,
    projection: Projection,
    target: Target[Record],
    refused: Container[str],
    stop: Stop,
    delete: Callable[[Sequence[str]], None],
    swept: Callable[[Swept], None],
) -> Swept:
    types: set[type[Record]] = set()
    with AddressLog() as log:
        for batch in source.read(Partition(0)):
            raise_if_stopped(stop, _STOPPED)
            made = projection.batch(batch)
            types.update(map(type, made.records))
            names = {owner: refused and made.name(owner) for owner in set(made.owners)} if refused else {}
            log.expect(
                record.address
                for record, owner in zip(made.records, made.owners, strict=True)
                if names.get(owner) not in refused
            )
        if not list_share(target, log.list, stop=stop):
            raise TransientError(STOPPED, _STOPPED)
        done = Swept(indistinct=is_indistinct(target, projection))
        swept(done)
        for addresses in cut(log.extras(), _AT_ONCE):
            raise_if_stopped(stop, _STOPPED)
            foreign = foreign_addresses(target, projection, addresses, types)
            others = {*foreign}
            own = [address for address in addresses if address not in others]
            delete(own)
            done = replace(
                done,
                deleted=done.deleted + len(own),
                kept=done.kept + len(foreign),
                not_of_route=[*done.not_of_route, *foreign][:SHOWN],
            )
            swept(done)
        return done
