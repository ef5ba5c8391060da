"""One boto3 session a thread-safe way, for every AWS client."""

from __future__ import annotations

import threading
from functools import cache
from typing import Any

import boto3

# Making a client changes its session, which may not be used by several threads at once; a client may.
MAKING = threading.Lock()


@cache
def session(profile: str | None, region: str | None) -> Any:
    """Return the one session of a process: it reads botocore's descriptions, and signs in, once for all routes."""
    return boto3.Session(profile_name=profile, region_name=region)
