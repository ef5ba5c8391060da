"""Evidence of a clean route, and of others that differ from it."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any

from flows.reporting.evidence import Evidence
from flows.verifier.compare import Comparison
from flows.verifier.ledger import Balance
from stores.contract.journal import Tally


def tally(**changes: Any) -> Tally:
    """Return the tally of ten documents, one of them dropped."""
    return dataclasses.replace(
        Tally(read=10, dropped=1, rejected=0, copied=9, records=9, id_types=Counter(int=7, string=3)), **changes
    )


def balance(**changes: Any) -> Balance:
    """Return the balance of nine records that are all held."""
    return dataclasses.replace(Balance(records=9, held=9, extra=0), **changes)


def comparison(**changes: Any) -> Comparison:
    """Return a comparison whose balance is changed so."""
    return Comparison(tally(), balance(**changes))


def evidence(**changes: Any) -> Evidence:
    """Return the evidence of a route that was copied and verified in full, changed so."""
    keys: dict[str, Any] = {
        "route": "orders",
        "collection": "orders",
        "target": "redis",
        "level": "full",
        "copied": tally(),
        "source_counts": {"int": 7, "string": 3},
        "comparison": comparison(),
        "backfill_s": 1.25,
        "verify_s": 0.5,
    }
    return Evidence(**{**keys, **changes})
