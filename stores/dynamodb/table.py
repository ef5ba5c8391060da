"""A DynamoDB table as the plan says: created if it is not there, compared with the plan if it is."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from mappers.dynamodb.records import Index, Key
from stores.contract.fence import Fence
from stores.dynamodb.client import Calls
from stores.errors import PermanentError, PlanError, TransientError
from stores.throttling.backoff import Backoff, poll

_CREATION_DEADLINE_S = 600.0
_OWN_KEYS = {"aws_owned": None, "aws_managed": {"Enabled": True, "SSEType": "KMS"}}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the plan says of a table."""

    key: Key
    indexes: Mapping[str, Index]
    billing: Literal["on_demand", "provisioned"]
    read_units: int | None
    write_units: int | None
    expires: bool
    ttl_attribute: str
    table_class: Literal["standard", "infrequent_access"]
    encryption: str
    tags: Mapping[str, str]
    deletion_protection: bool
    point_in_time_recovery: bool


class Table:
    """One table, asked and changed through its calls."""

    def __init__(self, name: str, calls: Calls, wanted: Wanted, fence: Fence) -> None:
        """Take what the plan says; nothing is asked yet."""
        self.name = name
        self.made = False
        """Whether a call of `prepare` made the table."""
        self._calls = calls
        self._wanted = wanted
        self._fence = fence

    def check(self) -> Sequence[str]:
        """Return what a person should know; raises PlanError if the table exists and is not the plan's."""
        table = self._describe()
        return () if table is None else self._compare(table)

    def check_imported(self) -> Sequence[str]:
        """Return notes on the table where an import makes it; a table that is being created is not compared."""
        table = self._describe()
        if table is None:
            return ()
        note = f"table {self.name!r} exists: a backfill that has not imported it itself refuses to go on"
        return [note] if table["TableStatus"] == "CREATING" else [note, *self._compare(table)]

    def prepare(self) -> str:
        """The table exists as planned, is active and expires items if asked; return its TableId (R137)."""
        if self._describe() is None:
            self._create()
        return self._finished(self._created())

    def adopt(self) -> str:
        """The table an import made is in all as planned; return its TableId."""
        busy = ("CREATING", "UPDATING")
        table, wanted = self._created(busy), self._wanted
        if wanted.tags:
            self._calls.asked("tag_resource", self._fence, ResourceArn=table["TableArn"], Tags=_tags(wanted))
        # One change at a time: a table takes a new class by itself only.
        planned = "STANDARD_INFREQUENT_ACCESS" if wanted.table_class == "infrequent_access" else "STANDARD"
        if table.get("TableClassSummary", {}).get("TableClass", "STANDARD") != planned:
            self._calls.control("update_table", self._fence, TableClass=planned)
            table = self._created(busy)
        if wanted.deletion_protection and not table.get("DeletionProtectionEnabled"):
            self._calls.control("update_table", self._fence, DeletionProtectionEnabled=True)
            table = self._created(busy)
        return self._finished(table)

    def imported(self) -> dict[str, Any]:
        """Return the TableCreationParameters of ImportTable, which takes less than CreateTable does."""
        later = ("Tags", "TableClass", "DeletionProtectionEnabled")
        made = {name: value for name, value in creation(self._wanted).items() if name not in later}
        return {"TableName": self.name, **made}

    def audit(self) -> Sequence[str]:
        """Return why the table does not serve what it holds as planned."""
        at = f"table {self.name!r}"
        table = self._describe()
        if table is None:
            return [f"there is no {at}"]
        faults: list[str] = []
        if table["TableStatus"] not in ("ACTIVE", "UPDATING"):
            faults.append(f"{at} is {table['TableStatus']}, not ACTIVE")
        indexes = table.get("GlobalSecondaryIndexes") or ()
        faults += [
            f"index {index['IndexName']!r} of {at} is {index['IndexStatus']}, so queries on it may miss items"
            for index in indexes
            if index["IndexName"] in self._wanted.indexes
            and index.get("IndexStatus", "ACTIVE") not in ("ACTIVE", "UPDATING")
        ]
        if self._wanted.expires and self._ttl() != self._wanted.ttl_attribute:
            faults.append(
                f"{at} does not expire items by {self._wanted.ttl_attribute!r}: its time to live is off; run backfill,"
                " which turns it on, or turn it on yourself"
            )
        return faults

    def obsolete(self) -> str | None:
        """Return the TableId of a table that is active and has another key or other indexes than the plan."""
        table = self._describe()
        if table is None or table["TableStatus"] != "ACTIVE":
            return None
        try:
            self._compare(table)
        except PlanError as error:
            return _id(table) if error.code in ("E-DDB-KEYS", "E-DDB-INDEXES") else None
        return None

    def remove(self) -> None:
        """There is no table of this name."""
        if self._describe() is not None:
            self._calls.control("delete_table", self._fence)
        if not poll(lambda: self._describe() is None, self._patience()):
            text = f"{self.name!r}: still there {_CREATION_DEADLINE_S:.0f} s after its deletion; delete it"
            raise TransientError("E-DDB-STATUS", text)

    def id(self) -> str | None:
        """Return the TableId of the table there is, None if there is none."""
        table = self._describe()
        return None if table is None else _id(table)

    def arn(self) -> str | None:
        """Return the ARN of the table there is, None if there is none."""
        table = self._describe()
        return None if table is None else str(table["TableArn"])

    def _finished(self, table: Mapping[str, Any]) -> str:
        self._compare(table)
        if self._wanted.expires:
            self._enable_ttl()
        if self._wanted.point_in_time_recovery:
            self._enable_recovery()
        return _id(table)

    def _describe(self) -> Mapping[str, Any] | None:
        """Return the table's description, or None if it does not exist."""
        try:
            table: Mapping[str, Any] = self._part(self._calls.control("describe_table"), "Table")
        except PermanentError as error:
            if error.code == "E-DDB-ABSENT":
                return None
            raise
        return table

    def _part(self, answer: Mapping[str, Any], name: str) -> Any:
        if name not in answer:
            raise self._calls.no_answer()
        return answer[name]

    def _compare(self, table: Mapping[str, Any]) -> Sequence[str]:
        """Return warnings; raises PlanError naming what is there and what the plan says."""
        at = f"table {self.name!r}"
        types = {attribute["AttributeName"]: attribute["AttributeType"] for attribute in table["AttributeDefinitions"]}
        found = _shown(table["KeySchema"], types)
        planned = ", ".join(f"{name} {kind}" for name, kind in self._wanted.key.types.items())
        if found != planned:
            text = (
                f"{at}: its key is ({found}), the plan says ({planned}); name another table, or write"
                f" `key: {_as_yaml(table['KeySchema'], types)}` (backfill --restart makes an empty table anew that an"
                " earlier run of this plan made)"
            )
            raise PlanError("E-DDB-KEYS", text)
        # An updating table takes reads and writes as an active one does.
        if table["TableStatus"] not in ("ACTIVE", "UPDATING"):
            text = f"{at}: its status is {table['TableStatus']}, a run needs ACTIVE; wait, then run the same command"
            raise PlanError("E-DDB-STATUS", text)
        return [
            *self._compare_ttl(at),
            *_readers(at, table),
            *self._compare_indexes(at, table, types),
            *_billing(at, table, self._wanted.billing),
        ]

    def _compare_ttl(self, at: str) -> Iterator[str]:
        found, planned = self._ttl(), self._wanted.ttl_attribute
        if found is None:
            return
        if not self._wanted.expires:
            yield (
                f"{at} expires items by {found!r}, of which the route says nothing: DynamoDB deletes an item in which "
                "this is a number of seconds in the past"
            )
        elif found != planned:
            text = f"{at}: it expires items by {found!r}, the plan says {planned!r}; set `ttl_attribute` to {found!r}"
            raise PlanError("E-DDB-TTL", text)

    def _compare_indexes(self, at: str, table: Mapping[str, Any], types: Mapping[str, str]) -> Iterator[str]:
        found = {
            index[
                "IndexName"
            ]: f"{kind.lower()} ({_shown(index['KeySchema'], types)}) {_projected(index['Projection'])}"
            for kind in ("Global", "Local")
            for index in table.get(f"{kind}SecondaryIndexes") or ()
        }
        for name, index in self._wanted.indexes.items():
            keys = ", ".join(f"{element.attribute} {element.type}" for element in index.attributes(self._wanted.key))
            kind = "local" if index.local else "global"
            planned = f"{kind} ({keys}) {_projected(_projection(index))}"
            if found.get(name) != planned:
                there = f"index {name!r} is {found[name]}" if name in found else f"there is no index {name!r}"
                text = f"{at}: {there}, the plan says {planned}; change `indexes`, or change the table with AWS's tools"
                raise PlanError("E-DDB-INDEXES", text)
        others = [name for name in found if name not in self._wanted.indexes]
        if others:
            yield (
                f"{at} has secondary indexes ({', '.join(others)}): an item in which an attribute that keys one has "
                "another type is refused"
            )

    def _ttl(self) -> str | None:
        """Return the attribute that the table expires items by, None if it expires none."""
        ttl = self._part(self._calls.control("describe_time_to_live"), "TimeToLiveDescription")
        return str(ttl["AttributeName"]) if ttl["TimeToLiveStatus"] in ("ENABLED", "ENABLING") else None

    def _create(self) -> None:
        """The table is being created, by this call or by another process at the same time."""
        try:
            self._calls.control("create_table", self._fence, **creation(self._wanted))
            self.made = True
        except PermanentError as error:
            if error.code != "E-DDB-IN-USE":
                raise

    def _created(self, busy: Collection[str] = ("CREATING",)) -> Mapping[str, Any]:
        """Return the table's description once it is no longer being created, or whatever it is busy with."""

        def look() -> Mapping[str, Any] | None:
            table = self._describe()  # Just after its creation a table may not be found yet.
            return table if table is not None and table["TableStatus"] not in busy else None

        table = poll(look, self._patience())
        if table is None:
            text = f"table {self.name!r}: not ACTIVE after {_CREATION_DEADLINE_S:.0f} s; run again later"
            raise TransientError("E-DDB-STATUS", text)
        return table

    def _patience(self) -> Backoff:
        return Backoff(_CREATION_DEADLINE_S, first_s=0.5, most_s=5.0, timing=self._calls.timing)

    def _enable_ttl(self) -> None:
        """The table expires items by the route's attribute."""
        planned = self._wanted.ttl_attribute
        if self._ttl() == planned:
            return
        try:
            self._calls.control(
                "update_time_to_live", self._fence, TimeToLiveSpecification={"Enabled": True, "AttributeName": planned}
            )
        except (PlanError, PermanentError):
            if self._ttl() != planned:  # Else another process was first.
                raise

    def _enable_recovery(self) -> None:
        """The table can be restored to any moment of the last days."""
        answer = self._part(self._calls.control("describe_continuous_backups"), "ContinuousBackupsDescription")
        if answer.get("PointInTimeRecoveryDescription", {}).get("PointInTimeRecoveryStatus") != "ENABLED":
            specification = {"PointInTimeRecoveryEnabled": True}
            self._calls.control(
                "update_continuous_backups", self._fence, PointInTimeRecoverySpecification=specification
            )


def creation(wanted: Wanted) -> dict[str, Any]:
    """Return the arguments of CreateTable besides its name."""
    types = dict(wanted.key.types)
    units = {"ReadCapacityUnits": wanted.read_units, "WriteCapacityUnits": wanted.write_units}
    provisioned = {"ProvisionedThroughput": units} if wanted.billing == "provisioned" else {}
    made: dict[str, Any] = {
        "KeySchema": _schema(wanted.key.names),
        "BillingMode": "PROVISIONED" if provisioned else "PAY_PER_REQUEST",
        **provisioned,
    }
    for name, index in wanted.indexes.items():
        types |= {attribute.attribute: attribute.type for attribute in index.attributes(wanted.key)}
        described: dict[str, Any] = {
            "IndexName": name,
            "KeySchema": _schema(index.names(wanted.key)),
            "Projection": _projection(index),
        }
        if not index.local:
            described |= provisioned
        made.setdefault("LocalSecondaryIndexes" if index.local else "GlobalSecondaryIndexes", []).append(described)
    made["AttributeDefinitions"] = [{"AttributeName": name, "AttributeType": kind} for name, kind in types.items()]
    if wanted.table_class == "infrequent_access":
        made["TableClass"] = "STANDARD_INFREQUENT_ACCESS"
    encryption = _OWN_KEYS.get(
        wanted.encryption, {"Enabled": True, "SSEType": "KMS", "KMSMasterKeyId": wanted.encryption}
    )
    if encryption:
        made["SSESpecification"] = encryption
    if wanted.tags:
        made["Tags"] = _tags(wanted)
    if wanted.deletion_protection:
        made["DeletionProtectionEnabled"] = True
    return made


def _tags(wanted: Wanted) -> list[dict[str, str]]:
    return [{"Key": name, "Value": value} for name, value in wanted.tags.items()]


def _id(table: Mapping[str, Any]) -> str:
    return str(table.get("TableId") or f"{table['TableArn']} {table['CreationDateTime'].isoformat()}")


def _schema(names: Sequence[str]) -> list[dict[str, str]]:
    kinds = zip(names, ("HASH", "RANGE"), strict=False)
    return [{"AttributeName": name, "KeyType": kind} for name, kind in kinds]


def _projection(index: Index) -> dict[str, Any]:
    if isinstance(index.projection, str):
        return {"ProjectionType": "ALL" if index.projection == "all" else "KEYS_ONLY"}
    return {"ProjectionType": "INCLUDE", "NonKeyAttributes": list(index.projection)}


def _projected(projection: Mapping[str, Any]) -> str:
    included = ", ".join(sorted(projection.get("NonKeyAttributes") or ()))
    return str(projection["ProjectionType"]) + (f" {included}" if included else "")


def _as_yaml(schema: Sequence[Mapping[str, str]], types: Mapping[str, str]) -> str:
    """Return a table's key as a plan writes it."""
    parts = {"HASH": "partition", "RANGE": "sort"}
    written = ", ".join(
        f"{parts[element['KeyType']]}: {{name: {element['AttributeName']}, type: {types[element['AttributeName']]}}}"
        for element in sorted(schema, key=lambda element: element["KeyType"])
    )
    return f"{{{written}}}"


def _shown(schema: Sequence[Mapping[str, str]], types: Mapping[str, str]) -> str:
    ordered = sorted(schema, key=lambda element: element["KeyType"])  # HASH comes before RANGE.
    return ", ".join(f"{element['AttributeName']} {types[element['AttributeName']]}" for element in ordered)


def _readers(at: str, table: Mapping[str, Any]) -> Iterator[str]:
    if table.get("StreamSpecification", {}).get("StreamEnabled"):
        yield f"{at} has a stream: every item written reaches its consumers (W-DDB-STREAM)"
    if table.get("Replicas"):
        yield f"{at} is a global table: every item is written, and paid for, in {len(table['Replicas'])} replicas too"


def _billing(at: str, table: Mapping[str, Any], planned: str) -> Iterator[str]:
    # A table that was never on demand has no summary.
    billing = (
        "on_demand" if table.get("BillingModeSummary", {}).get("BillingMode") == "PAY_PER_REQUEST" else "provisioned"
    )
    if billing != planned:
        yield f"{at} exists with billing {billing} and keeps it; the plan's {planned} is for a new table"
