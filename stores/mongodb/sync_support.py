"""What kind of sync a MongoDB allows for a collection, and the command that allows more (R100, R111, R125)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import cached_property

from stores.contract.changes import Streaming
from stores.errors import PermanentError
from stores.mongodb.change_stream import DatabaseChanges
from stores.mongodb.client import Client
from stores.mongodb.errors import translated
from stores.mongodb.flavour import Flavour
from stores.mongodb.metadata import CollectionMetadata
from stores.mongodb.stream_scopes import DEFAULT_WINDOW_S, LONGEST_WINDOW_S, OFF, STREAM_OFF, enabling

_KEEPING = "let change_stream_log_retention_duration of its parameter group, and source.change_retention, be"


class StreamAccess:
    """What opening a database's stream comes to, asked once: it is the same stream for each of its collections.

    Opening it is what asks for the privileges: a user may have them in many ways. TransientError, which is not
    remembered, if the source is away.
    """

    def __init__(self, changes: Callable[[], DatabaseChanges]) -> None:
        """Ask nothing yet; `changes` makes the stream."""
        self._make = changes

    @cached_property
    def _changes(self) -> DatabaseChanges:
        return self._make()

    @cached_property
    def refusal(self) -> PermanentError | None:
        """Why it cannot be opened, None if it can."""
        try:
            self._changes.begin()
        except PermanentError as error:
            return error
        return None

    @cached_property
    def knows_images(self) -> bool:
        """Whether the server can keep what documents were before a change at all."""
        return self._changes.knows_images()

    @cached_property
    def window_s(self) -> float | None:
        """How far back the source could tell, in seconds; None where it cannot be asked."""
        return self._changes.window_s()


def streaming(client: Client, found: CollectionMetadata, access: StreamAccess) -> Streaming:
    """Return whether the collection's changes can be streamed; raises TransientError if the source is away."""
    with translated(found.collection, client):
        never = _never(found, client.flavour())
    if never:
        return Streaming(False, never)
    flavour = client.flavour()
    if (error := access.refusal) is not None and error.code == STREAM_OFF:
        return Streaming(False, OFF, command=enabling(found.database), unrecorded=True)
    if error is not None:
        granting = _granting(client, found) if error.code == "E-SRC-AUTH" else ""
        return Streaming(False, error.message, command=granting)
    command = ""
    if not found.before_images and access.knows_images:
        options = {"collMod": found.collection, "changeStreamPreAndPostImages": {"enabled": True}}
        command = f"db.getSiblingDB({json.dumps(found.database)}).runCommand({json.dumps(options)})"
    return Streaming(
        True,
        before_images=found.before_images,
        command=command,
        window_s=access.window_s,
        imageless="" if flavour.pre_images else flavour.describe(),
        notes=list(_retention_notes(access.window_s)) if flavour.stream_scopes else (),
        keeping=_KEEPING if flavour.stream_scopes else "let its oplog last",
    )


def _never(found: CollectionMetadata, flavour: Flavour) -> str:
    if found.kind == "view":
        return f"{found.collection} is a view, and views have no change stream"
    if not flavour.streams:
        if flavour.product == "mongodb":
            return "the source is a standalone server, which has no change stream; a replica set of one member has one"
        return f"the source is {flavour.describe()}, which has no change streams"
    if found.capped:
        return f"{found.collection} is capped, and documents that roll off a capped collection give no delete events"
    return ""


def _retention_notes(window_s: float | None) -> Iterator[str]:
    parameter = "change_stream_log_retention_duration of the cluster's parameter group"
    if window_s is None:
        yield (
            f"how long the source keeps changes is not known, so {DEFAULT_WINDOW_S:.0f} s is assumed: for the time of"
            f" the migration let {parameter} be {LONGEST_WINDOW_S:.0f} (7 days), and say source.change_retention:"
            f" {LONGEST_WINDOW_S:.0f}"
        )
    elif window_s < LONGEST_WINDOW_S:
        yield (
            f"the source keeps changes for {window_s:.0f} s: for the time of the migration let {parameter} be"
            f" {LONGEST_WINDOW_S:.0f} (7 days), and say source.change_retention: {LONGEST_WINDOW_S:.0f}"
        )


def _granting(client: Client, found: CollectionMetadata) -> str:
    with translated(found.collection, client):
        status = client.ask(lambda: client.admin.command("connectionStatus"))
    users = status.get("authInfo", {}).get("authenticatedUsers") or [{"user": "USER", "db": "admin"}]
    role = json.dumps([{"role": "read", "db": found.database}])
    return f"db.getSiblingDB({json.dumps(users[0]['db'])}).grantRolesToUser({json.dumps(users[0]['user'])}, {role})"
