"""The common parts of the mappers that give each document its own key."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Generic, TypeVar

from mappers.contract import Addressing, Document, MapperDeclarations, Recognizing, Record, Straight
from mappers.expiry import Expires, Expiry, date_field
from mappers.identity import IdEncoding
from mappers.values.fast_path import Direct, Plain
from mappers.values.key_templates import Template

R = TypeVar("R", bound=Record)


def default_key(route: str) -> str:
    """Return the key template of a route without a `key`."""
    return f"{route}:{{_id}}"


def own_key(key: str | None, route: str, id_encoding: IdEncoding = "typed") -> Template:
    """Return a template with a key for each document; raises ValueError for a key that all documents would share."""
    template = Template.parse(key or default_key(route), id_encoding)
    if template.constant:
        raise ValueError("key: each document needs a key of its own; write a field such as {_id} in it")
    return template


def needed_fields(
    *, expires: str | Expires | None = None, key: str | None = None, **fields: str | None
) -> Iterator[tuple[str, str]]:
    """Yield each option and a field that it names, for expiry, these options and the key template."""
    fields = {"expires": date_field(expires), **fields}
    yield from ((option, path) for option, path in fields.items() if path is not None)
    if key is not None:
        yield from (("key", path) for path in Template.parse(key).paths)


class RedisMapper(MapperDeclarations, Addressing):
    """A Redis mapper of offramp itself."""

    target: ClassVar[str] = "redis"
    dates_in_ms: ClassVar[bool] = True


class OwnKeyMapper(RedisMapper, Recognizing):
    """A mapper that gives each document its own key."""

    RECORD: ClassVar[type[Record]]
    """The type of its records, whose `key` they have."""

    def __init__(self, key: Template, expires: str | Expires | None) -> None:
        """Take the key, and the option that says when it expires."""
        self._key = key
        self._expiry = Expiry(expires)

    def may_have_made(self, record: Record, id_kind: str, /) -> bool:
        """Return whether the record is of its type, and its key and content may be of the same document."""
        if type(record) is not self.RECORD:
            return False
        texts = self._key.match(record.address, id_kind)
        return texts is not None and self._fits(record, texts)

    def takes_any(self, id_kind: str, /) -> bool:
        """Return whether any text may be a key's, and the content does not tell either."""
        return not self._content_tells() and self._key.takes_any(id_kind)

    def _content_tells(self) -> bool:
        """Return whether the content has fields of the document, by which it is told from another's."""
        return False

    def _fits(self, record: Any, texts: Mapping[str, str], /) -> bool:
        """Return whether the content may be of a document with these texts of fields in its key."""
        return True

    @property
    def keeps_ids_apart(self) -> bool:
        """Whether the whole `_id` is a part of the key."""
        return "_id" in self._key.paths

    def addresses(self, identity: Document, /) -> Sequence[str] | None:
        """Return the key of a document with this `_id`; None where the key needs other fields."""
        return self._key.addresses(identity)


class WholeDocumentMapper(OwnKeyMapper, Straight, Generic[R]):
    """One document to one record of its own, which the compiled module can write for plain documents."""

    one_record: ClassVar[bool] = True

    def __init__(
        self,
        make: Callable[[str, Any, int | None], R],
        key: Template,
        expires: str | Expires | None,
        plain: Plain | None,
    ) -> None:
        """Take the record's constructor (key, content, expiry) and the definition of a plain document, or None."""
        super().__init__(key, expires)
        self._make = make
        self._direct: Direct | None = None
        # Where the filter of an index has a say in the expiry, the whole document must be seen.
        if plain is not None and self._expiry.paths is not None:
            self._direct = Direct(plain, (*key.paths, *self._expiry.paths), typed=key.encoding == "typed")

    def straight(self, documents: Sequence[bytes], /) -> Sequence[R | None]:
        """Return the records of plain documents."""
        return self._direct.records(documents, self._record) if self._direct is not None else ()

    def _record(self, document: Document, content: Any, typed: str | None = None) -> R:
        return self._make(self._key.fill(document, typed), content, self._expiry(document))
