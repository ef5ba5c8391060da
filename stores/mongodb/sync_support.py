"""What kind of sync a MongoDB allows for a collection, and the command that allows more (R100, R111, R125)."""

from __future__ import annotations

import json
from functools import cached_property

from stores.contract.changes import Streaming
from stores.errors import PermanentError
from stores.mongodb.change_stream import DatabaseChanges
from stores.mongodb.client import Client
from stores.mongodb.errors import translated
from stores.mongodb.flavour import Flavour
from stores.mongodb.metadata import CollectionMetadata


class StreamAccess:
    """What opening a database's stream comes to, asked once: it is the same stream for each of its collections.

    Opening it is what asks for the privileges: a user may have them in many ways. TransientError, which is not
    remembered, if the source is away.
    """

    def __init__(self, changes: DatabaseChanges) -> None:
        """Ask nothing yet."""
        self._changes = changes

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
    if (error := access.refusal) is not None:
        granting = _granting(client, found) if error.code == "E-SRC-AUTH" else ""
        return Streaming(False, error.message + _elsewhere(error), command=granting)
    command = ""
    if not found.before_images and access.knows_images:
        options = {"collMod": found.collection, "changeStreamPreAndPostImages": {"enabled": True}}
        command = f"db.getSiblingDB({json.dumps(found.database)}).runCommand({json.dumps(options)})"
    return Streaming(True, before_images=found.before_images, command=command, window_s=access.window_s)


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


def _granting(client: Client, found: CollectionMetadata) -> str:
    with translated(found.collection, client):
        status = client.ask(lambda: client.admin.command("connectionStatus"))
    users = status.get("authInfo", {}).get("authenticatedUsers") or [{"user": "USER", "db": "admin"}]
    role = json.dumps([{"role": "read", "db": found.database}])
    return f"db.getSiblingDB({json.dumps(users[0]['db'])}).grantRolesToUser({json.dumps(users[0]['user'])}, {role})"


def _elsewhere(error: PermanentError) -> str:
    if error.code != "E-SRC-REFUSED":
        return ""
    return "; on Amazon DocumentDB db.adminCommand({modifyChangeStreams: 1, ...}) turns change streams on"
