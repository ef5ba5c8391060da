"""The report of a run: for each route its figures, its verdict and the reasons, as report.json holds them."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from typing import Any, Literal

from pydantic import TypeAdapter

from flows import exit_codes
from flows.connect.progress import Throughput
from flows.verifier.field_differences import DifferenceSamples
from flows.verifier.job import Level
from stores.masking import masked_content

Verdict = Literal["clean", "pending", "rejects", "mismatches", "stopped", "failed"]

VERDICTS: Sequence[Verdict] = ("clean", "pending", "rejects", "mismatches", "stopped", "failed")
"""Every verdict, the best first. A route that is pending is copied, and its source has changed since."""


Figures = Literal["copy", "sync", "comparison", "sample", "past", "none"]
"""What the figures of a route are of: its copy; this sync; a comparison, or a sample, after a sync or a repair; a copy
that a sync or a repair has since made history; or nothing, as the plan's state has no copy of the route."""
COPY_FIGURES: Collection[str] = frozenset(("read", "dropped", "copied", "records"))
"""The keys of a route that are figures of a copy."""


_TEXTS = (
    "reasons",
    "samples",
    "lost",
    "place",
    "notes",
    "accepted_rejects",
    "differing",
    "not_checked",
    "swept",
    "warnings",
)
"""The fields of a route that hold texts of servers, ids and values."""


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the worst of these verdicts; clean where there is none."""
    return max(verdicts, key=VERDICTS.index, default="clean")


@dataclass(frozen=True)
class RouteReport:
    """The figures and the verdict of a route; None means not checked, never zero."""

    route: str
    collection: str
    target: str
    documents: int | None
    """The source's own count when the run ended."""
    read: int
    dropped: int
    rejected: int
    copied: int
    records: int
    held: int | None
    missing: int | None
    differs: int | None
    extra: int | None
    collides: int | None
    expired: int | None
    losses: Mapping[str, int]
    verdict: Verdict
    verified: Level
    """The pass that compared the target: none, counts, sample or full."""
    backfill_s: float | None
    verify_s: float | None
    reasons: Sequence[str] = ()
    """Why the verdict is not clean."""
    samples: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """A few addresses of each kind of mismatch."""
    lost: Sequence[FieldLoss] = ()
    """The losses by field, most frequent first, each with a few typed `_id`s and whether the plan accepts it."""
    place: str = ""
    """Where readers find the records, for a target that publishes them; "" until then."""
    pace: Pace | None = None
    """How the target or a limit slowed this run's copying down; None where it copied nothing."""
    sync: Following | None = None
    """How far the target follows the source; None for a route that was never synced."""
    source_keeps_s: float | None = None
    """For how long the source keeps its changes, in seconds: the first sync must not come later. None if unknown."""
    unsettled: int | None = None
    """Records that seemed wrong and could not be proven right or wrong, as their documents kept changing."""
    inconclusive: int | None = None
    """Records for which the target did not answer."""
    sampled: Mapping[str, Any] | None = None
    """Of a sample: the documents drawn uniformly, those beside them, how many are wrong, and the bound it gives."""
    verification: Mapping[str, Any] = field(default_factory=dict)
    """Of a full pass: its id, when it began, how often it was resumed, and its partitions."""
    counted_by: str = ""
    """How `counts` counted what the target holds: its store's own count, or listing it."""
    notes: Sequence[str] = ()
    """What a person should know about the route's stores, as `check` reports it."""
    accepted: int = 0
    """Rejected documents that a person has accepted; they are not in the target."""
    open_rejects: int = 0
    """Rejected documents that nobody has accepted, by what is on record and what a comparison saw."""
    repairs: Sequence[Mapping[str, Any]] = ()
    """What retry and repair have done to the target since its backfill: command, what was done, how often and when."""
    accepted_rejects: Sequence[Mapping[str, Any]] = ()
    """What was accepted: how many documents, an `_id`, stage, code, by whom, when and why."""
    differing: DifferenceSamples | None = None
    """Samples of how records differ; None where no record was seen to differ."""
    sizes: Mapping[str, int] = field(default_factory=dict)
    """Documents read, by stored size; a class begins at this number of bytes and ends before twice that."""
    rejects: Mapping[str, int] = field(default_factory=dict)
    """Rejects on record by their code."""
    throughput: Sequence[Throughput] = ()
    """How fast the route was copied and verified; a verification repeats the figures of the last copy."""
    not_checked: Sequence[str] = ()
    """What the run does not prove about the route, a sentence each."""
    codes: Sequence[str] = field(default_factory=list)
    """The codes of the errors that kept the route from its end, such as E-LEASE-HELD; each once."""
    location: str = ""
    """Where its records are in the target, such as its table, its index or how its keys begin; "" if unknown."""
    figures: Figures = "copy"
    """What read, dropped, copied and records are of."""
    compared: Mapping[str, int] = field(default_factory=dict)
    """What a comparison read and made: documents, dropped, rejected and records; empty where nothing was compared."""
    swept: Swept | None = None
    """What this run deleted from the target as nothing maps to it any more; None where it did not look for that."""
    warnings: Sequence[str] = ()
    """What this run left behind in a store that refused to remove it, with what to do."""
    canary: str = ""
    """What damage was planted in the target and found before anything was compared; "" where none was to be."""

    def __post_init__(self) -> None:
        """No text of the row has a secret of the plan, wherever it came from."""
        for name in _TEXTS:
            object.__setattr__(self, name, masked_content(getattr(self, name)))

    @property
    def backfilled(self) -> bool:
        """Whether the plan's state has a copy of the route."""
        return self.figures != "none"

    def figure(self, name: str) -> Any:
        """Return the figure of this name; None where it is not checked, or is of a copy that is none or is history."""
        if name in COPY_FIGURES and self.figures in ("none", "past"):
            return None
        return getattr(self, name)


@dataclass(frozen=True)
class Swept:
    """What a sweep deleted from a route's target, and what it left: records at addresses to which no document maps."""

    deleted: int = 0
    kept: int = 0
    """Those left as the route cannot have made them: they are another program's, or of an earlier plan."""
    not_of_route: Sequence[str] = ()
    """A few addresses of these."""
    indistinct: bool = False
    """Whether nothing tells the route's records from those of other programs in the same form."""


@dataclass(frozen=True)
class Following:
    """How far a route's target follows its source, by its sync."""

    position: str
    """Everything up to this time of the source is in the target; in ISO 8601."""
    lag_s: float
    """How far the position was behind the source's own time when it was recorded."""
    age_s: float
    """How far the position is behind the time of this report; the source must keep its changes for longer."""
    window_s: float | None
    """For how long the source keeps its changes; None if unknown."""
    events: int
    """Documents that changed since the route was first copied, each counted once per batch."""
    applied: int
    """Documents copied again since then."""
    deleted: int
    """Addresses deleted since then, whether or not something was there."""
    by_silence: bool = False
    """Whether the source proves its changes complete by nothing but its silence, as Amazon DocumentDB does."""


@dataclass(frozen=True)
class Pace:
    """How a route's copying was slowed down by its target or by the plan's limits."""

    throttled: int
    """Answers by which the target asked for less."""
    waited_s: float
    """Seconds that its partitions waited for the target, added up."""
    source_waited_s: float
    """Seconds that they waited for the limit on reading."""
    rate: float | None
    """Units a second (capacity units in DynamoDB, else records) that each process sends at the most in the end; None
    for as many as it can."""


@dataclass(frozen=True)
class FieldLoss:
    """One kind of loss at one field of a route."""

    field: str
    kind: str
    count: int
    examples: Sequence[str]
    accepted: bool


@dataclass(frozen=True)
class SourceSeen:
    """What the source reported about itself; "" where it did not answer."""

    database: str = ""
    version: str = ""
    cluster_time_began: str = ""
    """The time of its latest operation when the run began."""
    cluster_time_ended: str = ""
    """The same when its report was made."""
    server: str = ""
    """Its hosts, as the plan names them, without user and password."""


@dataclass(frozen=True)
class ServerSeen:
    """The server of a target; "" for what is not known."""

    target: str
    """The target's name in the plan."""
    addresses: Sequence[str] = ()
    """Its URL, endpoint and region in the plan, without user and password."""
    version: str = ""
    """What it says of itself."""


@dataclass(frozen=True)
class OtherRoute:
    """A route of the plan that this run was not about."""

    route: str
    report: RouteReport | None = None
    """What the last run that was about it found; None before there is one."""
    command: str = ""
    """That run's command."""
    finished: str = ""
    """When that run had ended, in ISO 8601."""
    void: str = ""
    """Why no verdict of the route stands now, "" if that of its report does."""


@dataclass(frozen=True)
class PastRun:
    """An earlier run of the same plan."""

    command: str
    began: str
    finished: str | None = None
    """None for a run that was killed or failed before its report."""
    verdict: Verdict | None = None
    read: int | None = None
    """Documents read, over all its routes."""
    fastest: float | None = None
    """The most documents a second that it copied; None where it copied nothing."""
    routes: Mapping[str, Verdict] = field(default_factory=dict)
    sha256: str = ""
    """Of its report.json, as it was written."""


@dataclass(frozen=True)
class Report:
    """What a run can prove."""

    plan: str
    fingerprint: str
    started: dt.datetime
    finished: dt.datetime
    routes: Sequence[RouteReport]
    command: str = ""
    """backfill, verify or sync."""
    source: SourceSeen = SourceSeen()
    versions: Mapping[str, str] = field(default_factory=dict)
    elapsed_s: float | None = None
    history: Sequence[PastRun] = ()
    """The runs before this one, the latest first."""
    servers: Sequence[ServerSeen] = ()
    """The server of each target of the plan that the routes go to."""
    others: Sequence[OtherRoute] = ()
    """The routes of the plan that this run was not about, in the plan's order."""

    @property
    def verdict(self) -> Verdict:
        """The worst verdict of the routes; a report without routes has failed."""
        return max((route.verdict for route in self.routes), key=VERDICTS.index, default="failed")

    @property
    def plan_verdict(self) -> Verdict:
        """The worst verdict of all routes of the plan, as last found; failed where one has none that stands."""
        others = (other.report.verdict if other.report and not other.void else "failed" for other in self.others)
        return worst((self.verdict, *others))

    @property
    def exit_code(self) -> int:
        """The exit code of a command that ends with this report."""
        return exit_codes.OF_VERDICT[self.verdict]

    def as_json(self) -> dict[str, Any]:
        """Return the report as JSON data, version 1; keys are added, never changed (docs/report.md)."""
        return {
            "version": 1,
            "plan": self.plan,
            "fingerprint": self.fingerprint,
            "started": self.started.isoformat(timespec="seconds"),
            "finished": self.finished.isoformat(timespec="seconds"),
            "verdict": self.verdict,
            "routes": [dataclasses.asdict(route) for route in self.routes],
            "command": self.command,
            "source": dataclasses.asdict(self.source),
            "elapsed_s": self.elapsed_s,
            "versions": dict(self.versions),
            "history": [dataclasses.asdict(run) for run in self.history],
            "servers": [dataclasses.asdict(server) for server in self.servers],
            "plan_verdict": self.plan_verdict,
            "others": [dataclasses.asdict(other) for other in self.others],
        }

    def as_bytes(self) -> bytes:
        """Return the content of report.json."""
        text = json.dumps(self.as_json(), indent=2, ensure_ascii=False) + "\n"
        return text.encode("utf-8", "backslashreplace")  # What a store holds may be no Unicode.

    def digest(self) -> str:
        """Return the SHA-256 of report.json."""
        return sha256(self.as_bytes()).hexdigest()

    @classmethod
    def from_bytes(cls, content: bytes) -> Report:
        """Return the report that `as_bytes` wrote."""
        return _adapter().validate_python(json.loads(content))


@cache  # Making it takes longer than reading a report by it.
def _adapter() -> TypeAdapter[Report]:
    return TypeAdapter(Report)
