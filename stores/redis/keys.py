"""Names in Redis: which keys a route owns, and addresses as keys or as a member within one."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from mappers.redis.own_key import default_key
from mappers.redis.records import member_address
from mappers.values.key_templates import Template


@dataclass(frozen=True, slots=True)
class OwnKeys:
    """The keys of a route: one whole key, all that start with a prefix, or both."""

    key: str | None
    prefix: str | None

    @classmethod
    def of(cls, given: str | None, route: str, *, shared: bool) -> OwnKeys:
        """Return what a `key` gives the route, or none; raises ValueError where that could be any key.

        `shared` says that each key holds a member of many documents, so that the route's name alone is its key.
        """
        if given is None:
            # Even if not said to be shared, a mapper from elsewhere may keep a sorted set under the route's name.
            prefix = None if shared else Template.parse(default_key(route)).prefix
            own = cls(route, prefix)
        else:
            template = Template.parse(given)
            own = cls(template.text, None) if template.constant else cls(None, template.prefix)
        start = own.key if own.prefix is None else own.prefix
        if not start:
            raise ValueError(
                f"key {given!r} would claim the whole database for this route; "
                f"begin it with a fixed text, such as {default_key(route)!r}"
            )
        if start.startswith('["'):
            raise ValueError(f'key {start!r} starts with [" , which offramp uses for members; begin it otherwise')
        return own

    def holds(self, key: str) -> bool:
        """Return whether the key belongs to the route."""
        return key == self.key or (self.prefix is not None and key.startswith(self.prefix))

    @property
    def territory(self) -> str:
        """A text that begins another's, or is begun by it, exactly if both own some key.

        Colons are doubled to tell three places apart: the whole key ``a`` is ``a:`` and NUL, the prefix ``a:`` is
        ``a::``, and both together are ``a:``, which begins either.
        """
        if self.prefix is not None and self.key is None:
            return self.prefix.replace(":", "::")
        whole = (self.key or "").replace(":", "::") + ":"
        return whole if self.prefix is not None else whole + "\0"


def address_of(key: bytes, member: bytes) -> str:
    """Return the address of a member as the server names it."""
    try:
        return member_address(as_text(key), as_text(member))
    except TypeError:  # No mapper gives a text with others' stray bytes, and its address cannot say them.
        return json.dumps([as_text(key), as_text(member)], separators=(",", ":"))


def parsed(address: str) -> tuple[str, str | None]:
    """Return the key and, of a member's address, the member."""
    if not address.startswith('["'):
        return address, None
    key, member = json.loads(address)
    return key, member


def as_bytes(text: str) -> bytes:
    """Return the bytes of a name, also of one that is no Unicode."""
    return text.encode("utf-8", "surrogateescape")


def as_text(name: bytes) -> str:
    """Return the text that `as_bytes` makes the name of."""
    return name.decode("utf-8", "surrogateescape")


def literal(text: bytes) -> bytes:
    """Return a glob pattern that matches the text alone."""
    return re.sub(rb"([\\*?\[\]])", rb"\\\1", text)
