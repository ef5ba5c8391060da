"""What a plan says of an Elasticsearch or OpenSearch server and of an index in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import SplitResult

from stores.throttling.limits import Ceilings, Window, ceilings
from stores.urls import check_url


@dataclass(frozen=True)
class Connection:
    """The keys of an Elasticsearch target in the plan."""

    url: str = field(repr=False)
    """Where the cluster answers, http or https; may carry ``user:password@``."""
    flavour: Literal["elasticsearch", "opensearch"] = "elasticsearch"
    """Which of the two answers there: Elasticsearch 8 or 9, or OpenSearch 2 or 3."""
    aws_region: str | None = None
    """For Amazon OpenSearch Service: the region to sign requests for, with credentials from AWS's own chain."""
    aws_profile: str | None = None
    """A profile of the AWS configuration files to sign with."""
    api_key: str | None = field(default=None, repr=False)
    """An API key in its encoded form, instead of user and password."""
    username: str | None = None
    """The user, instead of one in the URL."""
    password: str | None = field(default=None, repr=False)
    """The user's password."""
    ca_certs: str | None = None
    """A file of certificate authorities to trust (https only)."""
    client_cert: str | None = None
    """A file with the client certificate that the cluster demands (https only)."""
    client_key: str | None = None
    """The file with that certificate's key, where it is not in the same file."""
    verify_certs: bool = True
    """Whether the server's certificate is checked."""
    index_prefix: str = ""
    """Put before the route's name where a route does not name its index."""
    retry_deadline_s: float = 600
    """How long a cluster that pushes back or does not answer is asked again before the run stops."""
    max_rate: float | None = None
    """Records a second that a run writes to the cluster at the most, over all routes."""
    windows: Sequence[Window] = ()
    """Hours of the day with a ceiling of their own in place of this one."""
    time_zone: str = "UTC"
    """The time zone of `windows`, such as Europe/Berlin."""

    def __post_init__(self) -> None:
        """Refuse a URL that is read in several ways, and ceilings that cannot be kept."""
        check_url("url", self.url)
        self.ceilings()

    def ceilings(self) -> Ceilings:
        """Return how fast the cluster may be written to."""
        return ceilings(self.windows, self.time_zone, max_rate=self.max_rate)


def has_port(parts: SplitResult) -> bool:
    """Whether the port is a number or left out; urllib's own error would quote it."""
    try:
        return parts.port != 0
    except ValueError:
        return False


@dataclass(frozen=True)
class Placement:
    """What a route may say about its index."""

    index: str | None = None
    """The whole name of the index; without it, the target's prefix and the route's name. With a date field, such as
    ``logs-{at:%Y.%m}``, an index for each period."""
    undated_index: str | None = None
    """The index of documents without that date; by default they are rejected."""
    alias: str | None = None
    """A name that all indices of the periods bear, for readers."""
    routing: str | None = None
    """A field, or text with fields in braces, whose value leads to a document's shard; readers need it too."""
    pipeline: str | None = None
    """An ingest pipeline that every document passes through; verification expects what it makes of them."""
    mapping: Mapping[str, Any] = field(default_factory=dict)
    """Field path to a type such as ``keyword`` or to a whole mapping object."""
    dynamic: Literal["false", "strict"] | None = None
    """Fields that are not mapped: ``false`` keeps them, unsearchable; ``strict`` rejects their documents. Strict after
    a census, else false."""
    shards: int = 1
    """Primary shards of a new index."""
    replicas: int = 1
    """Replicas of a new index; with 0 the loss of one node loses documents."""
    versioned: bool = False
    """Whether each run from the beginning fills an index of its own, such as ``projects__2``, and the name itself is
    an alias that is swapped to it once a full verification is clean."""
    replace: bool = False
    """Whether an index that bears the alias's name, or an alias of others, gives way to a versioned one."""
    load_refresh_interval: str | None = None
    """Refresh interval while copying, ``-1`` for none; put back as it was at the run's end."""
    load_replicas: int | None = None
    """Replicas while copying, put back at the run's end; with 0 the loss of one node meanwhile loses documents."""
    accept_ignored: bool = False
    """Whether documents with fields that are kept but not searchable, such as very long keywords, count as clean."""


def name_fault(name: str) -> str:
    """Return why Elasticsearch would not take an index of this name, "" if it would."""
    if not name or name in (".", ".."):
        return "a name must not be empty, . or .."
    if name != name.lower():
        return "a name must be lowercase"
    if name[0] in "-_+":
        return f"a name must not begin with {name[0]}"
    if bad := sorted({letter for letter in name if letter in '\\/*?"<>| ,#:' or letter < " "}):
        return f"a name must not hold {' '.join(map(repr, bad))}"
    size = len(name.encode())
    return f"a name has at most 255 bytes, this one {size}" if size > 255 else ""
