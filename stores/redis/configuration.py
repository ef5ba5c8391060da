"""What a plan may say of Redis or Valkey: how a server is reached, which keys a route owns, what is refused."""

from __future__ import annotations

import re
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from mappers.expiry import Expires
from stores.throttling.limits import Ceilings, Window, ceilings
from stores.urls import check_url

_SHARING = {"score": "zset", "location": "zset", "entry": "stream", "member": "set"}
"""Keys of a placement that say that documents share keys, and of which type; the first that is said decides."""
_WAIT_MS = 20_000
"""WAIT ends before a connection that is silent for `SILENT_S` counts as lost."""
SILENT_S = 30.0
_LEAST_SILENT_S = 5.0
SENTINEL_SCHEMES: Mapping[str, str] = {"redis-sentinel": "redis", "rediss-sentinel": "rediss"}
"""The schemes of a service's URL, and those of its servers: with TLS the Sentinels are spoken to by TLS too."""
_OPTIONS = {"ca_certs": "ssl_ca_certs", "client_cert": "ssl_certfile", "client_key": "ssl_keyfile"}
"""The driver's options by the keys of the plan."""
_CACHE = re.compile(r"[a-z][a-z0-9-]*")
"""Both services write names of caches in small letters, whatever they are created with."""


@dataclass(frozen=True, slots=True)
class Durability:
    """How many replicas hold what was written before it counts as acknowledged (R73)."""

    wait: int | None = None
    """The replicas to wait for after each pipeline; one, if any is attached, by default; 0 waits for none."""
    timeout_ms: int = 1000
    """How long one WAIT lasts before the pipeline is sent again; the target's `retry_deadline_s` ends that."""


@dataclass(frozen=True, slots=True)
class Certificates:
    """Files in PEM format for a connection by TLS."""

    ca_certs: str | None = None
    client_cert: str | None = None
    client_key: str | None = None

    def options(self) -> Mapping[str, str]:
        """Return them as the driver's options."""
        given = {option: getattr(self, key) for key, option in _OPTIONS.items()}
        return {option: path for option, path in given.items() if path is not None}

    def check(self, given: Container[str], *, encrypted: bool) -> None:
        """Raise ValueError, the key first, for a file that is not used; `given` are the options of the URL."""
        for key, option in _OPTIONS.items():
            if getattr(self, key) is None:
                continue
            if not encrypted:
                raise ValueError(f"{key}: is for TLS alone; write rediss:// in `url`")
            if option in given:
                raise ValueError(f"{key}: `url` has {option} too; remove that")
        if self.client_key is not None and self.client_cert is None:
            raise ValueError("client_key: needs client_cert, the certificate that it is the key of")


@dataclass(frozen=True, slots=True)
class Iam:
    """The login to Amazon ElastiCache or MemoryDB as a user that authenticates with IAM."""

    service: Literal["elasticache", "memorydb"]
    """Which of the two services it is."""
    user: str
    """The name of the user, whose mode of authentication is IAM."""
    cache: str
    """The name of the serverless cache or MemoryDB cluster, or the id of the replication group; not the address."""
    region: str
    """Where it is."""
    profile: str | None = None
    """The AWS profile to sign with, in place of the default."""
    serverless: bool = False
    """Whether it is an ElastiCache Serverless cache."""

    def check(self, given: Container[str], *, encrypted: bool) -> None:
        """Raise ValueError, the key first, for a login that no server would take; `given` are the URL's options."""
        if not encrypted:
            raise ValueError("iam: needs TLS, as both services do; write rediss:// in `url`")
        if "username" in given or "password" in given:
            raise ValueError("iam: is the login, and `url` has one too; remove user and password there")
        if not _CACHE.fullmatch(self.cache):
            raise ValueError(
                "iam: cache is the name of a cache, of small letters, digits and hyphens, and no address; correct it"
            )
        if not (self.user and self.region):
            raise ValueError("iam: user and region must not be empty")
        if self.serverless and self.service != "elasticache":
            raise ValueError("iam: serverless is of elasticache alone; remove it")


@dataclass(frozen=True, slots=True)
class Connection:
    """How the server is reached."""

    url: str
    """``redis://[user:password@]host[:port][/database]``; ``rediss`` for TLS, ``unix`` for a socket's path. Where
    Sentinels watch it, ``redis-sentinel://[user:password@]sentinel[:port][,...]/service[/database]``."""
    sentinel_username: str | None = None
    """The user at the Sentinels, where they ask for one."""
    sentinel_password: str | None = field(default=None, repr=False)
    """That user's password; the login in `url` is that to the servers."""
    ca_certs: str | None = None
    """A file of certificate authorities to trust, in PEM format (TLS only)."""
    client_cert: str | None = None
    """A file with the client certificate that the server demands (TLS only)."""
    client_key: str | None = None
    """The file with that certificate's key, where it is not in the same file."""
    iam: Iam | None = None
    """The login by IAM to Amazon ElastiCache or MemoryDB, in place of user and password in `url` (TLS only)."""
    allow_eviction: bool = False
    """Write also to a server that may drop keys when its memory is full."""
    retry_deadline_s: float = 600
    """How long commands of which none gets through are tried again before the run stops, fit to be resumed."""
    cluster: bool = False
    """Whether the URL leads to a node of a Redis Cluster."""
    durability: Durability = Durability()
    """The replicas that must hold what was written before it counts as acknowledged."""
    max_memory_percent: float = 70
    """How full of its `maxmemory` a copy may make the server, as measured by a sample; more than 100 for any."""
    max_rate: float | None = None
    """Records a second that a run writes to the server at the most, over all routes."""
    windows: Sequence[Window] = ()
    """Hours of the day with a ceiling of their own in place of this one."""
    time_zone: str = "UTC"
    """The time zone of `windows`, such as Europe/Berlin."""

    def __post_init__(self) -> None:
        """Refuse a URL that is read in several ways, and ceilings that cannot be kept."""
        check_url("url", self.url)
        self.ceilings()

    @property
    def silent_s(self) -> float:
        """How long a connection may say nothing: no longer than it is tried again, but for longer than WAIT lasts."""
        wait_s = self.durability.timeout_ms / 1000 + 1
        return min(SILENT_S, max(_LEAST_SILENT_S, self.retry_deadline_s, wait_s))

    @property
    def certificates(self) -> Certificates:
        """The files for a connection by TLS."""
        return Certificates(self.ca_certs, self.client_cert, self.client_key)

    def ceilings(self) -> Ceilings:
        """Return how fast the server may be written to."""
        return ceilings(self.windows, self.time_zone, max_rate=self.max_rate)


@dataclass(frozen=True, slots=True)
class Placement:
    """Which keys a route owns and how long they live."""

    key: str | None = None
    """Key template; the route's name, a colon and {_id} by default, a sorted set's the route's name alone."""
    ttl_s: int | None = None
    """Seconds that a key lives after it was last written; not beside `expires`."""
    expires: str | Expires | None = None
    """When the key expires; beside a mapper of your own any text that says that keys do."""
    score: str | None = None
    """The numeric field that orders the members: says that the keys hold sorted sets."""
    location: str | None = None
    """The field with the place: says that the keys hold geo sets, which are sorted sets."""
    entry: str | None = None
    """The field that orders the entries: says that the keys hold streams."""
    member: str | None = None
    """The field that names the members: says that many documents share each key, a set by default."""
    json: bool = False
    """Whether the keys hold JSON documents, which not every server can."""


def shared_type(placement: Placement) -> str | None:
    """Return the type of the keys that documents share by this placement; None where each document has its own."""
    key = _shared_by(placement)
    return None if key is None else _SHARING[key]


def check(connection: Connection, placement: Placement) -> None:
    """Raise ValueError, the key first, for options that cannot be served."""
    shared = _shared_by(placement)
    if placement.expires is not None and shared:
        raise ValueError(f"expires: beside `{shared}` the documents share a key, so none can expire; remove it")
    if placement.ttl_s is not None:
        if not 0 < placement.ttl_s <= 10**12:
            raise ValueError(f"ttl_s is {placement.ttl_s}; allowed: a number of seconds above 0")
        if placement.expires is not None:
            raise ValueError("ttl_s and expires both set when a key expires; remove one of them")
        if shared:
            raise ValueError(f"ttl_s: beside `{shared}` the documents share a key, so none can expire; remove it")
    watched = connection.url.partition("://")[0] in SENTINEL_SCHEMES
    if connection.cluster and watched:
        raise ValueError("cluster: no Sentinel watches a cluster; write the URL of one of its nodes, or remove it")
    if connection.iam is not None and watched:
        raise ValueError("iam: neither ElastiCache nor MemoryDB has Sentinels; write the URL of the cache's endpoint")
    if connection.max_memory_percent <= 0:
        raise ValueError("max_memory_percent: must be above 0; 70 leaves room for what the server itself needs")
    if connection.durability.wait is not None and connection.durability.wait < 0:
        raise ValueError("durability: wait must be a number of replicas, 0 or more")
    if not 0 < connection.durability.timeout_ms <= _WAIT_MS:
        raise ValueError(f"durability: timeout_ms must be above 0 and at most {_WAIT_MS}")


def _shared_by(placement: Placement) -> str | None:
    return next((name for name in _SHARING if getattr(placement, name) is not None), None)
