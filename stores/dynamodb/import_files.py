"""Items in gzip'd files of S3 as DynamoDB's import takes them, named by their place in the route (R54).

A file's name has its partition, the number of documents read before its batch, the number of records it is for, and
the number of its items. So a batch that is done again replaces its own file, files past a checkpoint are known by
their names, and the items of an import can be counted before it begins.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import orjson

from mappers.dynamodb.records import ITEM_LIMIT_BYTES, Item, Key, item_size
from stores.contract.target import Rejected
from stores.dynamodb.oversize import Folding, Unfit
from stores.dynamodb.oversize_parts import Parts
from stores.dynamodb.s3 import Objects
from stores.errors import PermanentError
from stores.throttling.batches import cut

FILE_LIMIT = 50_000
"""Of one import, as are the bytes below."""
BYTE_LIMIT = 15 * 1024**4
_GATHERED = 64
"""Files of about a megabyte that become one where there are too many: as much fits into memory several times."""
_AT_ONCE = 4
_STAGED = "staged/"
_MERGED = "merged/"
_NAME = re.compile(r"([0-9]{5,})-([0-9]{12,})-([0-9]+)-([0-9]+)\.json\.gz")
# Some readers of lines end one at these signs too, which JSON leaves as they are within a text.
_LINE_ENDS = [(sign.encode(), b"\\u%04x" % ord(sign)) for sign in "\u0085\u2028\u2029"]


@dataclass(frozen=True, slots=True)
class File:
    """One staged file, as its name tells."""

    name: str
    size: int
    partition: int
    first: int
    records: int
    items: int


class Files:
    """The files of one route."""

    def __init__(
        self,
        objects: Objects,
        place: str,
        key: Key,
        folding: Folding | None,
        piece_store: Objects | None,
        ttl_attribute: str | None,
        *,
        most_files: int = FILE_LIMIT,
    ) -> None:
        """Take how the table's items are folded, and where objects go that a folded item points at.

        Files beyond `most_files` are joined before the import.
        """
        self._most_files = most_files
        self.objects = objects
        self._place = place
        self._key = key
        self._folding = folding
        self._piece_store = piece_store
        self._ttl_attribute = ttl_attribute

    def stage(self, records: Sequence[Item], partition: int, first: int) -> Sequence[Rejected]:
        """Every item is in this batch's file, or in the answer; of several with one address the last."""
        last = {record.address: index for index, record in enumerate(records)}
        rejected: list[Rejected] = []
        bodies: dict[str, bytes] = {}
        for index, record in enumerate(records):
            try:
                if tuple(orjson.loads(record.address)) != self._key.names:
                    names = ", ".join(self._key.names)
                    raise Unfit("E-DDB-KEY", f"the item's key attributes are not the table's ({names})")
                if last[record.address] == index:
                    bodies |= self._whole(record)
            except Unfit as unfit:
                rejected.append(Rejected(index, unfit.code, unfit.reason))
        kept = len(records) - len(rejected)
        if kept:
            name = f"{self._place}{_STAGED}{partition:05d}-{first:012d}-{kept}-{len(bodies)}.json.gz"
            self.objects.put({name: _packed(b"".join(map(_line, bodies.values())))}, {})
        return rejected

    def trim(self, partition: int, first: int) -> None:
        """No file of the partition holds documents from this one on."""
        files = self._listed(f"{_STAGED}{partition:05d}-")
        self.objects.delete([file.name for file in files if file.partition == partition and file.first >= first])

    def clear(self) -> None:
        """There are no files of the route."""
        self.objects.delete([name for below in (_STAGED, _MERGED) for name, _ in self.objects.sizes(below)])

    def balanced(self, records: int) -> int:
        """Return how many items the files hold; raises PermanentError if they do not stand for so many records."""
        files = self._listed(_STAGED)
        places = {(file.partition, file.first) for file in files}
        records_found = sum(file.records for file in files)
        if records_found != records or len(places) < len(files):
            text = (
                f"the files under {self._place + _STAGED!r} stand for {records_found} records, {records} were written;"
                " something else wrote or deleted files there; start over with backfill --restart"
            )
            raise PermanentError("E-DDB-IMPORT-FILES", text)
        return sum(file.items for file in files)

    def gathered(self) -> str:
        """Return the prefix under which an import finds every item, in no more objects than it takes."""
        files = self._listed(_STAGED)
        size = sum(file.size for file in files)
        if size > BYTE_LIMIT:
            text = f"the files under {self._place!r} have {size} bytes, an import takes {BYTE_LIMIT}; set `load: write`"
            raise PermanentError("E-DDB-IMPORT-SIZE", text)
        if len(files) <= self._most_files:
            return self._place + _STAGED
        self.objects.delete([name for name, _ in self.objects.sizes(_MERGED)])
        most = max(_GATHERED, -(-len(files) // self._most_files))
        groups = list(cut(files, most))
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="gather") as pool:
            list(pool.map(self._gather, groups))
        return self._place + _MERGED

    def _gather(self, files: Sequence[File]) -> None:
        names = [file.name for file in files]
        contents = self.objects.get(names)
        if len(contents) < len(names):
            raise PermanentError("E-DDB-IMPORT-FILES", f"files under {self._place!r} are gone; run the same command")
        name = self._place + _MERGED + names[0].rpartition("/")[2]
        self.objects.put({name: _packed(b"".join(gzip.decompress(contents[name_of]) for name_of in names))}, {})

    def _listed(self, below: str) -> list[File]:
        """Return the files in order; raises PermanentError for an object that is none of them."""
        files: list[File] = []
        for name, size in self.objects.sizes(below):
            match = _NAME.fullmatch(name.removeprefix(self._place + _STAGED))
            if match is None:
                text = f"{name!r} was not written by offramp, and the import would read it too; delete it"
                raise PermanentError("E-DDB-IMPORT-FILES", text)
            files.append(File(name, size, *map(int, match.groups())))
        return sorted(files, key=lambda file: (file.partition, file.first))

    def _whole(self, record: Item) -> Mapping[str, bytes]:
        """Return the items that hold the record, by address; raises Unfit where there are none."""
        if self._folding is None:
            # Typed JSON is always longer than what DynamoDB counts for it (R40).
            if len(record.body) > ITEM_LIMIT_BYTES and item_size(orjson.loads(record.body)) > ITEM_LIMIT_BYTES:
                raise Unfit("E-DDB-SIZE", "the item is larger than 400 KB")
            return {record.address: record.body}
        folded = self._folding.fold(record)
        parts: dict[str, bytes] = {}

        def keep(bodies: Mapping[str, bytes]) -> Sequence[Rejected]:
            parts.update(bodies)
            return ()

        if folded.pieces:
            piece_store = self._piece_store or Parts(self._ttl_attribute, keep, lambda _: {}, lambda _: None)
            piece_store.put(folded.pieces, folded.attributes)
        return {**parts, record.address: folded.body}


def _line(body: bytes) -> bytes:
    for sign, escaped in _LINE_ENDS:
        body = body.replace(sign, escaped)
    return b'{"Item":%b}\n' % body


def _packed(lines: bytes) -> bytes:
    return gzip.compress(lines, compresslevel=5, mtime=0)
