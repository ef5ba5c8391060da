"""What a plan may say of DynamoDB: how it is reached, where a route's items go, and what cannot be served."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from mappers.dynamodb.indexes import check_indexes, measured
from mappers.dynamodb.records import Index, Key, Oversize
from mappers.expiry import Expires
from stores.contract.fence import Fence
from stores.dynamodb.oversize import Folding
from stores.dynamodb.s3 import Objects
from stores.dynamodb.table import Wanted
from stores.throttling.limits import Ceilings, UnitsWindow, ceilings


@dataclass(frozen=True, slots=True)
class Connection:
    """How DynamoDB is reached; the credentials come from AWS's own chain (environment, profile, role)."""

    region: str | None = None
    """The AWS region; without it the one of the environment or the profile."""
    endpoint: str | None = None
    """The URL of a server other than AWS's own, such as a local one."""
    table_prefix: str = ""
    """What the name of a table starts with where a route names none."""
    profile: str | None = None
    """A profile of the AWS configuration files."""
    s3_endpoint: str | None = None
    """The URL of an S3 other than AWS's own, where a route puts oversize items or an import's files into S3."""
    retry_deadline_s: float = 600
    """How long a batch of which nothing gets through is tried again before the run stops, fit to be resumed."""
    requests: int = 8
    """How many requests about documents may be on their way at once for a route, from 1 to 32."""
    import_deadline_s: float = 86_400
    """How long a run waits for an import from S3 before it stops, fit to be resumed: the import itself goes on."""
    max_write_units: float | None = None
    """Write capacity units a second that a run takes of each table at the most: a KB of an item, rounded up, is one."""
    max_rate: float | None = None
    """Items a second that a run writes to each table at the most."""
    windows: Sequence[UnitsWindow] = ()
    """Hours of the day with ceilings of their own in place of these."""
    time_zone: str = "UTC"
    """The time zone of `windows`, such as Europe/Berlin."""

    def __post_init__(self) -> None:
        """Refuse ceilings that cannot be kept."""
        self.ceilings()

    def ceilings(self) -> Ceilings:
        """Return how fast each table may be written to."""
        return ceilings(self.windows, self.time_zone, max_rate=self.max_rate, max_write_units=self.max_write_units)


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a route's items go, and how the table is created if it is not there."""

    table: str | None = None
    """The table's name; without it the prefix and the route's name."""
    key: Key = Key()  # noqa: RUF009 - frozen, so that one default may be shared
    """The key attributes: fields, or text with fields in braces; for a mapper of your own their names and types."""
    indexes: Mapping[str, Index] | None = None
    """Secondary indexes by name; they are created with the table."""
    shared: bool = False
    """Whether other routes put items into this table too: this route's own then begin with the text that its key
    begins with, and only those are looked at."""
    billing: Literal["on_demand", "provisioned"] = "on_demand"
    """How a new table is paid for; one that exists keeps its own."""
    read_units: int | None = None
    """Read capacity units of a new provisioned table."""
    write_units: int | None = None
    """Write capacity units of a new provisioned table."""
    expires: str | Expires | None = None
    """When DynamoDB may drop the item; it turns on the table's time to live."""
    ttl_attribute: str = "_ttl"
    """The attribute that holds `expires` in epoch seconds."""
    load: Literal["write", "import"] = "write"
    """How a backfill fills the table: write items as they are read, or import: put them into files in S3 and have
    DynamoDB make a new table of them once all are there."""
    import_bucket: str | None = None
    """The bucket for `load: import`; it must exist."""
    import_prefix: str = "offramp-import/"
    """What the names of an import's files begin with, before the table's and the route's name."""
    oversize: Oversize = "reject"
    """What becomes of items over 400 KB: reject the document, compress its largest fields (zstd), split them into
    further items under a sort key, or put them into S3."""
    oversize_bucket: str | None = None
    """The bucket for `oversize: s3`; it must exist."""
    oversize_prefix: str = "offramp/"
    """What the names of objects in the bucket begin with, before the table's and the route's name."""
    table_class: Literal["standard", "infrequent_access"] = "standard"
    """The storage class of a new table."""
    encryption: str = "aws_owned"
    """How a new table is encrypted: aws_owned, aws_managed, or the id, alias or ARN of a KMS key of yours."""
    tags: Mapping[str, str] | None = None
    """Tags of a new table."""
    deletion_protection: bool = False
    """Whether a new table is protected from deletion."""
    point_in_time_recovery: bool = False
    """Whether the table's continuous backups are turned on."""


def table_name(connection: Connection, placement: Placement, route: str) -> str:
    """Return the name of the route's table; raises ValueError where DynamoDB takes no such name."""
    name = connection.table_prefix + route if placement.table is None else placement.table
    illegal = sorted(set(re.sub(r"[A-Za-z0-9_.-]", "", name)))
    if illegal:
        shown = ", ".join(map(repr, illegal))
        raise ValueError(f"table: {name!r} has {shown}; allowed: A-Z a-z 0-9 _ . -")
    if not 3 <= len(name) <= 255:
        raise ValueError(f"table: {name!r} has {len(name)} characters; allowed: 3 to 255")
    return name


def wanted(placement: Placement) -> Wanted:
    """Return what the plan says of the table."""
    return Wanted(
        key=placement.key,
        indexes=placement.indexes or {},
        billing=placement.billing,
        read_units=placement.read_units,
        write_units=placement.write_units,
        expires=placement.expires is not None,
        ttl_attribute=placement.ttl_attribute,
        table_class=placement.table_class,
        encryption=placement.encryption,
        tags=placement.tags or {},
        deletion_protection=placement.deletion_protection,
        point_in_time_recovery=placement.point_in_time_recovery,
    )


def folding(placement: Placement, place: str) -> Folding | None:
    """Return how items over 400 KB are folded, None where they are rejected; objects are named below `place`."""
    if placement.oversize == "reject":
        return None
    key, indexes = placement.key, (placement.indexes or {}).values()
    local = [index for index in indexes if index.local]
    kept = {*key.names, *(name for index in indexes for name in index.names(key))}
    if placement.expires is not None:
        kept.add(placement.ttl_attribute)
    return Folding(
        placement.oversize,
        key,
        sorted(kept),
        lambda attributes: measured(attributes, key, local),
        sizes=1 + len(local),
        place=place,
    )


def objects(connection: Connection, bucket: str, prefix: str, option: str, fence: Fence) -> Objects:
    """Return the objects of a bucket below a prefix; `option` is the key of the plan that names the bucket."""
    return Objects(
        bucket,
        prefix,
        option,
        region=connection.region,
        endpoint=connection.s3_endpoint,
        profile=connection.profile,
        deadline_s=connection.retry_deadline_s,
        fence=fence,
    )


def checked_requests(connection: Connection) -> int:
    """Return how many requests may be on their way at once; raises ValueError for a number that is not allowed."""
    if not 1 <= connection.requests <= 32:
        raise ValueError(f"requests: is {connection.requests}; allowed: from 1 to 32")
    return connection.requests


def check_placement(placement: Placement) -> None:
    """Return if the placement can be served; raises ValueError otherwise."""
    key = placement.key
    key.check()
    check_indexes(placement.indexes or {}, key)
    if placement.expires is not None and placement.ttl_attribute in key.names:
        raise ValueError(f"ttl_attribute: {placement.ttl_attribute!r} is a key attribute; choose another name")
    for option, units in (("read_units", placement.read_units), ("write_units", placement.write_units)):
        if placement.billing == "provisioned" and (units is None or units < 1):
            raise ValueError(f"{option}: `billing: provisioned` needs a number of at least 1")
        if placement.billing == "on_demand" and units is not None:
            raise ValueError(f"{option}: is for `billing: provisioned`; remove it, or set that")
    if placement.shared and not any(attribute.prefix for attribute in key.attributes):
        raise ValueError("shared: no part of the key begins with a fixed text; write one such as 'ORDER#{_id}'")
    if (placement.oversize == "s3") != (placement.oversize_bucket is not None):
        raise ValueError("oversize_bucket: goes together with `oversize: s3`; set both or neither")
    if placement.oversize == "split" and (key.sort is None or key.attributes[1].type != "S" or placement.shared):
        raise ValueError("oversize: split needs a sort key of type S, and a table that is not shared")
    if placement.oversize == "s3" and placement.expires is not None:
        raise ValueError("oversize: s3 would keep the objects of expired items forever; use compress or split")
    _check_import(placement)
    if not placement.encryption:
        raise ValueError("encryption: is empty; allowed: aws_owned, aws_managed or a KMS key")


def _check_import(placement: Placement) -> None:
    if (placement.load == "import") != (placement.import_bucket is not None):
        raise ValueError("import_bucket: goes together with `load: import`; set both or neither")
    if placement.load != "import":
        return
    if placement.shared:
        raise ValueError("load: an import creates its table, so no other route can share it; set `load: write`")
    local = [name for name, index in (placement.indexes or {}).items() if index.local]
    if local:
        raise ValueError(f"load: an import makes no local index such as {local[0]!r}; set `load: write`")
    if placement.oversize_bucket == placement.import_bucket:
        prefixes = placement.oversize_prefix, placement.import_prefix
        if prefixes[0].startswith(prefixes[1]) or prefixes[1].startswith(prefixes[0]):
            text = (
                f"import_prefix: begins as oversize_prefix does ({prefixes[0]!r}), in the same bucket; choose another"
            )
            raise ValueError(text)
