"""What is done otherwise because of what the server is: a line for each thing, with what to choose instead."""

from __future__ import annotations

from collections.abc import Iterator

from stores.mongodb.flavour import Flavour


def differences(flavour: Flavour, read_preference: str) -> Iterator[str]:
    """Yield what a person should know of a server that is not a MongoDB with a replica set; nothing for one."""
    if flavour.product == "mongodb":
        return
    what = flavour.describe()
    by = "source.flavour says so" if flavour.given else "by what it answers; source.flavour overrides that"
    calls = (
        f", which calls itself MongoDB {'.'.join(map(str, flavour.version))}"
        if flavour.product == "other" and flavour.version
        else ""
    )
    yield f"the source is {what}{calls} ({by})"
    if flavour.product == "other":
        yield from _of_another(what)
    if flavour.streams and not flavour.causal_reads:
        yield f"{what} cannot be asked for reads of a cluster time, so every read goes to the primary"
    if not flavour.secondary_reads and read_preference != "primary":
        yield f"source.read_preference: {read_preference} is not followed: {what} is read from its primary"
    if flavour.streams and not flavour.pre_images:
        yield (
            f"{what} does not keep what documents were before a change: a route whose records are at places of other"
            " fields than _id can be copied, but not synced; key the records by _id"
        )
    if not flavour.collection_uuid:
        yield (
            f"{what} does not tell a collection from a later one of the same name: after a collection was dropped and"
            " made again, run backfill --restart for its route"
        )
    if not flavour.sample:
        yield (
            f"{what} is not asked for random documents ($sample): partitions are cut along the index on _id, and"
            " verify --sample reads every _id first"
        )
    if not flavour.expressions:
        yield (
            f"{what} is not asked to compare in an aggregation ($cond): it counts documents once for each partition;"
            " partitions: 1 in a route makes it count once"
        )


def _of_another(what: str) -> Iterator[str]:
    yield (
        f"{what} has no change streams: say sync: rescan or sync: watermark in each route, or copy while nothing is"
        " written"
    )
    yield (
        f"{what} has no reads of what a majority has, nor of a cluster time: a fail-over may take back what was copied;"
        " verify after the last write"
    )
    yield f"{what} has been tested as far as docs/other-servers.md says; offramp check PLAN --probe tries the rest"
