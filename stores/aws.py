"""What every AWS client shares: one boto3 session, used in a thread-safe way, and the fence of each request."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import boto3

from stores.contract.fence import NO_FENCE, Fence

# Making a client changes its session, which may not be used by several threads at once; a client may.
MAKING = threading.Lock()


@cache
def session(profile: str | None, region: str | None) -> Any:
    """Return the one session of a process: it reads botocore's descriptions, and signs in, once for all routes."""
    return boto3.Session(profile_name=profile, region_name=region)


class RequestFence(threading.local):
    """The fence of the request that each thread is making, looked at right before botocore sends it."""

    _fence: Fence = NO_FENCE

    def watch(self, client: Any, service: str) -> None:
        """Look at the fence before each request of this client, whose service is named as boto3 names it."""
        # The last event before a request leaves: what comes before it, such as new credentials, may take long.
        client.meta.events.register_first(f"before-send.{service}", self._look)

    @contextmanager
    def under(self, fence: Fence) -> Iterator[None]:
        """Requests that this thread makes within the body are under the fence."""
        self._fence = fence
        try:
            yield
        finally:
            del self._fence

    def _look(self, **_: Any) -> None:
        self._fence.ensure()
