"""Documents of an open route copied again: those that somebody chose, and those of late writes."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from flows.connect.stores import OpenRoute
from flows.copying.documents import Recopied, copy_documents
from stores.throttling.batches import cut

_log = logging.getLogger(__name__)

BATCH = 500
"""Documents copied again before what became of them is put on record."""


def recopy(opened: OpenRoute, ids: Sequence[bytes]) -> Recopied:
    """The target holds what these documents are now; see `copy_documents`.

    Of a route that is rescanned it is on record first that the next pass must copy them whatever they are then, and
    search for them if they are gone: what a scan remembers is not what is written here.
    """
    scans = opened.state.document_hashes
    if number := scans.last_pass(opened.route.name):
        scans.save(opened.lease, [(at, b"") for at in ids], number)
    return copy_documents(opened.source, opened.projection, opened.target, opened.journal, ids)


def recopy_late_writes(opened: OpenRoute) -> int:
    """Return how many documents were copied again because a run wrote them when its lease was over.

    None is on record after it but those noted meanwhile. What was verified of the route says nothing any more (R156).
    """
    late = opened.state.late_writes.of_route(opened.route.name)
    if not late:
        return 0
    opened.state.verification.abandon(opened.lease)
    for batch in cut(late, BATCH):
        recopy(opened, list(dict.fromkeys(entry.position for entry in batch)))
        opened.state.late_writes.remove(opened.lease, [entry.number for entry in batch])
    documents = len({entry.position for entry in late})
    _log.warning(
        "%s: %d documents were copied again, which a run that had lost its lease may have written",
        opened.route.name,
        documents,
    )
    if not opened.projection.told_by_id:
        _log.warning(
            "%s: what these documents were earlier may be left at other addresses; run verify, then repair",
            opened.route.name,
        )
    return documents
