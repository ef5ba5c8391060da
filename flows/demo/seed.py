"""The demo's marketplace: documents such as applications leave behind over the years, the same in every run."""

from __future__ import annotations

import datetime as dt
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

from bson import Binary, Code, DBRef, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp

_Sizes = Mapping[str, int]

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_FOUNDED = dt.datetime(2015, 4, 1, 8, 30, tzinfo=dt.UTC)
_TEN_YEARS_S = 315_360_000
_SHARES: Mapping[str, int] = {
    "projects": 20,
    "freelancers": 15,
    "proposals": 30,
    "accounts": 15,
    "sessions": 15,
    "activity": 25,
}
_BEYOND_DOUBLES = 2**53 + 1
"""The first whole number that no double holds: a store that goes through doubles shows here."""

_NAMES = ("Amélie Durand", "Bjørn Åkesson", "Chiều Nguyễn", "D'Arcy O'Neill", "李小龍", "Ωmega Παπάς", "Zoë 🎨 Müller")
_SKILLS = ("python", "go", "sql", "figma", "copywriting", "français", "c++", "a11y", "seo")
_TITLES = ("Landing page", "Übersetzung eines Handbuchs", "ロゴのデザイン", "Data pipeline", "Mobile app 📱")
_CITIES = (("Lisboa", 38.7223, -9.1393), ("Kraków", 50.0647, 19.945), ("São Paulo", -23.5505, -46.6333))
_STATES = ("draft", "sent", "sent", "accepted", "withdrawn")
_KINDS = ("login", "view", "bid", "message", "heartbeat")


def marketplace(documents: int, now: dt.datetime) -> Mapping[str, Iterator[dict[str, Any]]]:
    """Return the marketplace's collections; their documents, this many in all, are made while they are read.

    The same number gives the same documents, except for the times in `sessions`, which end after `now`.
    """
    moment = now.astimezone(dt.UTC).replace(microsecond=0)
    makers: Mapping[str, Callable[[int, random.Random, _Sizes], dict[str, Any]]] = {
        "projects": _project,
        "freelancers": _freelancer,
        "proposals": _proposal,
        "accounts": _account,
        "sessions": lambda number, dice, sizes: _session(number, dice, sizes, moment),
        "activity": _activity,
    }
    sizes = counts(documents)
    return {name: _made(maker, name, sizes) for name, maker in makers.items()}


def counts(documents: int) -> Mapping[str, int]:
    """Return the number of documents of each collection; together they are exactly `documents`."""
    whole = sum(_SHARES.values())
    sizes = {name: documents * share // whole for name, share in _SHARES.items()}
    sizes["activity"] += documents - sum(sizes.values())
    return sizes


def _made(
    maker: Callable[[int, random.Random, _Sizes], dict[str, Any]], name: str, sizes: _Sizes
) -> Iterator[dict[str, Any]]:
    dice = random.Random(f"marketplace:{name}")
    return (maker(number, dice, sizes) for number in range(sizes[name]))


def _object_id(collection: str, number: int) -> ObjectId:
    """Return the id of a document by its number alone: what refers to it needs no list of ids."""
    at = _seconds(_FOUNDED) + number * 1009 % _TEN_YEARS_S
    return ObjectId(at.to_bytes(4, "big") + collection.encode()[:4] + number.to_bytes(4, "big"))


def _any_id(collection: str, dice: random.Random, sizes: _Sizes) -> ObjectId:
    return _object_id(collection, dice.randrange(max(1, sizes[collection])))


def _seconds(moment: dt.datetime) -> int:
    return int((moment - _EPOCH).total_seconds())


def _after(start: dt.datetime, dice: random.Random, days: int) -> dt.datetime:
    return start + dt.timedelta(milliseconds=dice.randrange(days * 86_400_000))


def _money(dice: random.Random) -> Decimal128:
    # Trailing zeros are part of a decimal128: 1.10 and 1.1 are equal, but not the same.
    return Decimal128(dice.choice(("1.10", "0.00", "120.50", f"{dice.randrange(1, 10**7)}.{dice.randrange(100):02d}")))


def _project(number: int, dice: random.Random, sizes: _Sizes) -> dict[str, Any]:
    city, latitude, longitude = dice.choice(_CITIES)
    return {
        "_id": _object_id("projects", number),
        "title": f"{dice.choice(_TITLES)} {number}",
        "description": " ".join(dice.choices(_SKILLS, k=dice.randrange(3, 60))),
        "skills": dice.sample(_SKILLS, dice.randrange(4)),
        "client": DBRef("accounts", number),
        "budget": {"from": dice.randrange(100, 5000), "amount": _money(dice), "currency": "EUR"},
        "location": {"lat": latitude, "lon": longitude},
        "city": city,
        "remote": dice.random() < 0.5,
        "posted_at": _after(_FOUNDED, dice, 3000),
        "closed_at": None,
        "attachments": [{"name": "brief.pdf", "size": Int64(_BEYOND_DOUBLES + number)}] * dice.randrange(3),
        "notes": "",
        # Names that a careless mapper would take for a path, a tag or an escape of its own.
        "legacy.id": Int64(number),
        "discount_%": 0.1 + number,
        "import": {"$source": "crm", "a.b": {"c": -0.0}, "": "nameless", "%2E": []},
    }


def _freelancer(number: int, dice: random.Random, sizes: _Sizes) -> dict[str, Any]:
    reviews = dice.choice((0, dice.randrange(1, 400)))
    quarters = dice.randrange(4, 21)  # Quarters of a star: exact in every kind of number.
    rating = dice.choice((quarters / 4, Decimal128(f"{quarters / 4:.2f}"), quarters // 4))
    return {
        "_id": _object_id("freelancers", number),
        "name": f"{dice.choice(_NAMES)} {number}",
        "headline": dice.choice(_TITLES),
        "skills": dice.sample(_SKILLS, dice.randrange(1, 5)),
        "rating": rating if reviews else None,
        "reviews": reviews,
        "hourly_rate": _money(dice),
        "born": dt.datetime(1948, 2, 29, tzinfo=dt.UTC) + dt.timedelta(days=dice.randrange(20_000)),
        "member_since": _after(_FOUNDED, dice, 3000),
        "languages": [],
        "portfolio": [
            {"title": title, "year": 2000 + dice.randrange(25), "links": [], "shown": {"web": True, "print": None}}
            for title in dice.sample(_TITLES, dice.randrange(3))
        ],
        "availability": {"mon": [[9, 12], [13, 17]], "tue": [], "fri": [[]]},
        "earned_cents": Int64(_BEYOND_DOUBLES + 2 * dice.randrange(10**6)),
        "trend": dice.choice((-0.0, math.nan, math.inf, 1e-7, 123456789.123456789)),
        "bio": dice.choice(("", "line\nline", "tab\t\x00nul", "🎨" * 20)),
        "verification": {"passport": Binary(dice.randbytes(24)), "checked_by": "compliance"},
    }


def _proposal(number: int, dice: random.Random, sizes: _Sizes) -> dict[str, Any]:
    return {
        # Numbered by an older release, ObjectIds since.
        "_id": Int64(number) if number % 3 == 0 else _object_id("proposals", number),
        "project_id": _any_id("projects", dice, sizes),
        "freelancer_id": _any_id("freelancers", dice, sizes),
        "state": dice.choice(_STATES),
        "price": _money(dice),
        "sent_at": _after(_FOUNDED, dice, 3000),
        "cover_letter": " ".join(dice.choices(_SKILLS, k=dice.randrange(80))),
        "milestones": [
            {"title": f"step {step}", "amount": _money(dice), "due": _after(_FOUNDED, dice, 4000)}
            for step in range(dice.randrange(4))
        ],
        "answer": None,
    }


_ACCOUNT_IDS: Sequence[Callable[[int], Any]] = (
    lambda number: number,
    lambda number: Int64(_BEYOND_DOUBLES + number),
    lambda number: f"user-{number}",
    lambda number: _object_id("accounts", number),
    lambda number: dt.datetime(1965, 1, 1, tzinfo=dt.UTC) + dt.timedelta(hours=number, milliseconds=7),
    lambda number: Binary(number.to_bytes(6, "big")),
    lambda number: Binary.from_uuid(UUID(int=(0x4A << 120) + number)),
    lambda number: {"tenant": "eu", "number": number},
    lambda number: number + 0.5,
)


def _account(number: int, dice: random.Random, sizes: _Sizes) -> dict[str, Any]:
    return {
        # Eleven years and four systems in one collection; null is an id like any other, once.
        "_id": None if number == 8 else _ACCOUNT_IDS[number % len(_ACCOUNT_IDS)](number),
        "email": f"user{number}@example.org",
        "balance": dice.choice((_money(dice), Decimal128("NaN"), Decimal128("-0"), Decimal128("1E+6000"))),
        "opened": dice.choice((_after(_FOUNDED, dice, 3000), dt.datetime(1901, 12, 31, tzinfo=dt.UTC))),
        "plan": dice.choice(("free", "pro", "")),
        "limits": {"from": MinKey(), "to": MaxKey(), "per_day": dice.choice((1, 1.0, Int64(1)))},
        "allowed": Regex(r"^user\d+@example\.org$", "i"),
        "revision": Timestamp(_seconds(_FOUNDED) + number, 1 + number % 5),
        "tags": dice.sample(("vip", "late payer", "", "ünï"), dice.randrange(3)),
    }


def _session(number: int, dice: random.Random, sizes: _Sizes, now: dt.datetime) -> dict[str, Any]:
    session = {
        # Braces choose the cluster slot in Redis and must not come through from a token as they are.
        "_id": f"{{tok}}%{number}" if number % 50 == 0 else f"tok-{dice.getrandbits(96):024x}-{number}",
        "account": f"user-{number}",
        "created_at": now - dt.timedelta(milliseconds=dice.randrange(86_400_000)),
        "device": {"agent": "Mozilla/5.0 (X11; Linux)", "screen": [1920, 1080], "touch": False},
        "csrf": Binary(dice.randbytes(16)),
        "cart": [],
        "scroll": dice.choice((0.0, -0.0, 0.1)),
        "counter": Int64(_BEYOND_DOUBLES),
    }
    if number % 20 != 0:  # The others chose to stay signed in.
        session["expires_at"] = now + dt.timedelta(hours=1, milliseconds=dice.randrange(14 * 86_400_000))
    return session


_ODD: Sequence[Any] = (
    math.nan,
    -math.inf,
    -0.0,
    5e-324,
    Int64(-(2**63)),
    Decimal128("1.10"),
    Decimal128("-Infinity"),
    dt.datetime(1, 1, 1, tzinfo=dt.UTC),
    dt.datetime(9999, 12, 31, 23, 59, 59, 999_000, tzinfo=dt.UTC),
    Binary(b"\x00\x01legacy", 3),
    Binary(b"", 0),
    Binary(b"custom", 128),
    Regex("a/b\\d+", "im"),
    Code("function () { return 1 }"),
    Code("function () { return n }", {"n": Int64(_BEYOND_DOUBLES)}),
    DBRef("projects", 7, "archive"),
    MinKey(),
    [],
    {},
    [[], [None, [True]]],
    {"$date": "no date", "$$twice": {"a.b": [{"$oid": "no id"}]}},
    "x\x00y\u2028z",
    None,
)


def _activity(number: int, dice: random.Random, sizes: _Sizes) -> dict[str, Any]:
    return {
        "_id": _object_id("activity", number),
        "at": _after(_FOUNDED, dice, 3600),
        "kind": dice.choice(_KINDS),
        "actor": _any_id("freelancers", dice, sizes),
        "address": f"192.0.2.{number % 256}",
        "took_ms": dice.randrange(5000),
        "payload": {"value": _ODD[number % len(_ODD)], "again": [_ODD[(number * 7 + 3) % len(_ODD)]]},
    }
