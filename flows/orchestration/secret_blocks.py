"""The Secret blocks of a Prefect server, which a plan names as ``${prefect-secret:name}``."""

from __future__ import annotations

from prefect import get_client
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL

from flows.orchestration.server_faults import server_faults
from flows.plan.references import PREFECT_SECRET, UnresolvedError, add_secret_store
from stores.errors import OfframpError, redacted


def read_secret(name: str) -> str:
    """Return what the Secret block of this name holds; raises UnresolvedError where it cannot be read or is no text."""
    url = PREFECT_API_URL.value()
    if not url:
        raise UnresolvedError(
            f"the Secret block {name!r} is on a Prefect server, and none is named; set PREFECT_API_URL, or take the"
            " value from ${file:/path} or ${NAME}"
        )
    place = redacted(str(url))
    try:
        with server_faults(), get_client(sync_client=True) as client:
            document = client.read_block_document_by_name(name, "secret", include_secrets=True)
    except ObjectNotFound:
        raise UnresolvedError(f"there is no Secret block {name!r} on {place}; create it under Blocks") from None
    except OfframpError as error:
        raise UnresolvedError(f"the Secret block {name!r} was not given: {error.message}") from None
    value = document.data.get("value")
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise UnresolvedError(f"the Secret block {name!r} holds no text and no number; write one into it")
    return str(value)


add_secret_store(PREFECT_SECRET, read_secret)
