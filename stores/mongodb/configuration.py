"""What a plan says of its source."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import parse_qsl

from pymongo.errors import ConfigurationError, InvalidURI
from pymongo.uri_parser import parse_uri, split_options

from stores.mongodb.flavour import key_fault
from stores.throttling.limits import Ceilings, Window, ceilings
from stores.transport_security import is_this_machine, unchecked, unencrypted
from stores.urls import check_url, hosts_of, split_url

STALENESS_S = 90
_UNCHECKING = ("tlsinsecure", "tlsallowinvalidcertificates", "tlsallowinvalidhostnames")
Preference = Literal["primary", "primaryPreferred", "secondary", "secondaryPreferred", "nearest"]


@dataclass(frozen=True)
class Connection:
    """The keys of `source` in the plan."""

    uri: str
    """MongoDB connection string."""
    database: str
    """The database whose collections are moved."""
    flavour: str | None = None
    """What the server is, where it is not recognised: mongodb, documentdb or other, with a version if it matters, such
    as documentdb-5.0."""
    read_preference: Preference = "primary"
    """Which members are read; secondaries may lag behind what the application has just written."""
    retry_deadline_s: float = 120
    """How long a source that does not answer is asked again before the run stops. Half of it, 5 to 60 seconds, is how
    long a connection may say nothing before the question is asked again on another."""
    change_retention: float | None = None
    """How many seconds of changes an Amazon DocumentDB keeps: change_stream_log_retention_duration of its parameter
    group, which the server itself does not tell."""
    aws_cluster: str | None = None
    """The identifier of an Amazon DocumentDB cluster whose parameter group AWS is asked for that, in place of
    `change_retention`."""
    max_read_rate: float | None = None
    """Documents a second that a run reads at the most, over all routes."""
    windows: Sequence[Window] = ()
    """Hours of the day with a ceiling of their own, their `max_rate`, in place of this one."""
    time_zone: str = "UTC"
    """The time zone of `windows`, such as Europe/Berlin."""

    def __post_init__(self) -> None:
        """Refuse a URL that is read in several ways, an unknown flavour, and ceilings that cannot be kept."""
        check_url("uri", self.uri)
        if self.flavour is not None and (fault := key_fault(self.flavour)):
            raise ValueError(f"flavour: {fault}")
        if self.change_retention is not None and self.change_retention <= 0:
            raise ValueError(
                f"change_retention: is {self.change_retention:g}; write a number of seconds, such as 604800"
            )
        if self.change_retention is not None and self.aws_cluster is not None:
            raise ValueError("aws_cluster: AWS is asked for what change_retention says already; write one of them")
        self.ceilings()

    def ceilings(self) -> Ceilings:
        """Return how fast the source may be read."""
        return ceilings(self.windows, self.time_zone, name="max_read_rate", max_rate=self.max_read_rate)


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is asked of the source at once, and how long for: what is read is the same by any."""

    batch_documents: int = 1000
    """The documents of one batch of a collection or of a query by `_id`."""
    batch_bytes: int = 1 << 20
    """About the size of a batch of a collection."""
    query_bytes: int = 4 << 20
    """The `_id`s of one query: well below the 16 MB that a command may have."""
    changed_ids: int = 1000
    """The documents of one batch of changes."""
    changed_bytes: int = 16 << 20
    """What documents were before, in one batch of changes."""
    changed_s: float = 1.0
    """How long a batch of changes is gathered."""
    await_ms: int = 500
    """How long the source waits for a change before it answers that there is none."""
    renew_s: float = 5.0
    """After how long a quiet stream whose tokens tell no time is opened anew, to prove how far it has come."""
    quiet_s: float = 2.0
    """How long a stream has nothing before its silence is taken for the end of what there is, where nothing else is."""
    watch_s: float = 60.0
    """Time between two looks at what a stream does not tell: renames, and that it was turned off."""
    pause_s: float = 1.0
    """How long is waited between two passes over a date field."""


LIMITS = Limits()


def uri_fault(uri: str, *, files: bool = True) -> str:
    """Return why no client can be made of the URI, as what follows its name in a message; "" if one can.

    No host is asked, nor a name service. `files` says whether the files of its options are looked for too.
    """
    authority, rest = split_url(uri)
    options = rest.partition("?")[2]
    if "@" in options:
        return "has an @ after a ?; write a ? in a password as %3F"
    # The driver only warns of an option it does not understand: `tls=ture` would read without TLS.
    for option in filter(None, options.split("&")):
        name = option.partition("=")[0]
        try:
            split_options(option)
        except OSError as error:
            if files:
                reason = error.strerror or "not a certificate or key in PEM format"
                return f"names a file at {name} that cannot be read ({reason}); correct its path or the file"
        except (InvalidURI, ConfigurationError, ValueError):
            return f"has the option {name!r}, which is unknown or has an invalid value; correct it"
    try:
        # The driver would ask the name service for the hosts of a name.
        parse_uri(f"mongodb://{authority}" if uri.startswith("mongodb+srv://") else uri)
    except OSError:
        pass  # The files of its options, as above.
    except (InvalidURI, ConfigurationError, ValueError):
        return "is not a MongoDB connection string; write mongodb://user:password@host:port, or mongodb+srv://host"
    return ""


def transport_notes(uri: str) -> Iterator[str]:
    """Yield what a person should know of the way to the source; nothing for one on this machine."""
    hosts = hosts_of(uri)
    if all(_is_local(host) for host in hosts.split(",")):
        return
    options = _options(uri)
    if not uses_tls(uri):
        yield unencrypted(f"the source at {hosts}", "add tls=true to source.uri")
    elif "true" in (options.get(name) for name in _UNCHECKING):
        yield unchecked(f"the source at {hosts}", "remove tlsInsecure and tlsAllowInvalid... from source.uri")


def uses_tls(uri: str) -> bool:
    """Return whether the source is reached by TLS."""
    options = _options(uri)
    # A name of mongodb+srv is, unless its URI says otherwise.
    return options.get("tls", options.get("ssl", "true" if uri.startswith("mongodb+srv://") else "false")) == "true"


def _options(uri: str) -> Mapping[str, str]:
    return {name.lower(): value.lower() for name, value in parse_qsl(uri.partition("?")[2])}


def _is_local(host: str) -> bool:
    """Return whether a host of a connection string, with its port, is this machine or a socket of it."""
    name = host if host.endswith("]") else host.rpartition(":")[0] or host
    return name.endswith(".sock") or is_this_machine(name)
