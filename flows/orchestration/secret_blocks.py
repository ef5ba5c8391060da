"""The Secret blocks of a Prefect server, which a plan names as ``${prefect-secret:name}``."""

from __future__ import annotations

import httpx
from prefect import get_client
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.settings import PREFECT_API_URL

from flows.plan.references import PREFECT_SECRET, UnresolvedError, add_secret_store
from stores.errors import redacted


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
        with get_client(sync_client=True) as client:
            document = client.read_block_document_by_name(name, "secret", include_secrets=True)
    except ObjectNotFound:
        raise UnresolvedError(f"there is no Secret block {name!r} on {place}; create it under Blocks") from None
    except PrefectHTTPStatusError as error:
        status = error.response.status_code
        raise UnresolvedError(
            f"{place} refused to give the Secret block {name!r}: status {status}; see its log"
        ) from None
    except httpx.TransportError as error:
        kind = type(error).__name__
        raise UnresolvedError(f"{place} does not give the Secret block {name!r} ({kind}); is the server up?") from None
    value = document.data.get("value")
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise UnresolvedError(f"the Secret block {name!r} holds no text and no number; write one into it")
    return str(value)


add_secret_store(PREFECT_SECRET, read_secret)
