"""What keeps a Prefect server from answering, each fault by its code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from prefect import get_client
from prefect.client.orchestration import SyncPrefectClient
from prefect.exceptions import PrefectHTTPStatusError
from prefect.settings import PREFECT_API_URL

from stores.errors import PlanError, TransientError, redacted


def server_url() -> str:
    """Return the address of the server that PREFECT_API_URL names, without a password; raises PlanError if none is."""
    url = PREFECT_API_URL.value()
    if not url:
        raise PlanError(
            "E-DEPLOY-SERVER",
            "no Prefect server is named; set PREFECT_API_URL to the server's address, such as"
            " http://127.0.0.1:4200/api after prefect server start on this machine",
        )
    return redacted(str(url))


@contextmanager
def answering_client() -> Iterator[SyncPrefectClient]:
    """Yield a client of the server that PREFECT_API_URL names, which answers; raises as `server_faults` does.

    Raises PlanError where no server is named.
    """
    url = server_url()
    with server_faults(), get_client(sync_client=True) as client:
        if (error := client.api_healthcheck()) is not None:
            raise TransientError(
                "E-DEPLOY-SERVER",
                f"{url} does not answer as a Prefect server ({type(error).__name__}); is it running (prefect server"
                " start), and does PREFECT_API_URL name its port and end in /api?",
            )
        yield client


def server_name() -> str:
    """Return how to call the Prefect server in a message: its URL without a password."""
    return redacted(str(PREFECT_API_URL.value() or "the temporary Prefect server"))


@contextmanager
def server_faults() -> Iterator[None]:
    """Tell by name what a request in the body fails with.

    Raises PlanError where the server asks for other credentials, TransientError where it does not answer or refuses.
    """
    place = server_name()
    try:
        yield
    except PrefectHTTPStatusError as error:
        status = error.response.status_code
        if status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            raise PlanError(
                "E-DEPLOY-AUTH",
                f"{place} asks for credentials (status {status}); set PREFECT_API_AUTH_STRING to what the server was"
                " started with as PREFECT_SERVER_API_AUTH_STRING",
            ) from error
        raise TransientError(
            "E-DEPLOY-SERVER", f"{place} refused a request with status {status}; see its log"
        ) from error
    except httpx.TransportError as error:
        raise TransientError(
            "E-DEPLOY-SERVER", f"{place} stopped answering ({type(error).__name__}); the same command resumes"
        ) from error
