"""Documents to measure with: about 1 KB or 10 KB of BSON, of the types that applications keep, always the same."""

from __future__ import annotations

import datetime as dt
import random
from typing import Any, Literal

import bson
from bson import Decimal128, Int64, ObjectId

Size = Literal[1, 10]
"""Kilobytes of BSON a document has, about."""

_EPOCH = dt.datetime(2024, 3, 1, tzinfo=dt.UTC)
_FIRST_SECOND = 1_700_000_000
_TEXT = (
    "order invoice shipment refund parcel customer depot harbour copper linen walnut amber quartz violet saffron "
    "Łódź Málaga Genève 大阪 naïve façade smörgåsbord piñata “quoted” back\\slash tab\there"
)
_WORDS = tuple(_TEXT.split(" "))


def identifier(number: int) -> bytes:
    """Return the bytes of the ObjectId of the document with this number: they ascend with it."""
    return (
        (_FIRST_SECOND + number).to_bytes(4, "big") + b"\x5a\xfe\x0f\xf1\xce" + (number & 0xFFFFFF).to_bytes(3, "big")
    )


def document(number: int, size: Size) -> dict[str, Any]:
    """Return the document with this number; its `_id` stands first."""
    chance = random.Random(number)
    fields: dict[str, Any] = {
        "_id": ObjectId(identifier(number)),
        "number": f"A-{number:09d}",
        "customer": {"given": _word(chance), "family": _word(chance), "mail": f"customer{number}@shop.example"},
        "state": chance.choice(("open", "paid", "sent", "returned")),
        "items_count": chance.randint(1, 60),
        "rating": chance.random() * 5,
        "total": _money(chance),
        "views": Int64(chance.randrange(2**41)),
        "gift": chance.random() < 0.3,
        "placed_at": _moment(chance),
        "changed_at": _moment(chance),
        "shop": ObjectId(chance.randbytes(12)),
        "coupon": None,
        "address": {
            "street": f"{_word(chance)} {chance.randint(1, 400)}",
            "city": _word(chance),
            "code": f"{chance.randint(1000, 99999)}",
            "point": {"lat": chance.uniform(-90, 90), "lon": chance.uniform(-180, 180)},
        },
        "labels": [_word(chance) for _ in range(6)],
        "settings": {"language": "en", "news": True, "layout": "wide", "page": 25},
        "payments": [
            {"by": ObjectId(chance.randbytes(12)), "amount": chance.random() * 900, "at": _moment(chance)}
            for _ in range(2)
        ],
        "host": ".".join(str(chance.randrange(256)) for _ in range(4)),
        "weights": [chance.random() for _ in range(4)],
        "remark": _prose(chance, 36),
    }
    if size == 10:
        fields["lines"] = [
            {
                "article": ObjectId(chance.randbytes(12)),
                "code": f"ART-{chance.randrange(10**7):07d}",
                "count": chance.randint(1, 12),
                "price": _money(chance),
                "discount": chance.random(),
                "title": _prose(chance, 6),
                "packed_at": _moment(chance),
                "properties": {"tone": _word(chance), "size": chance.choice("SML"), "weight": chance.random() * 20},
            }
            for _ in range(24)
        ]
        fields["events"] = [
            {
                "at": _moment(chance),
                "kind": chance.choice(("seen", "bought", "sent")),
                "by": ObjectId(chance.randbytes(12)),
            }
            for _ in range(20)
        ]
        fields["description"] = _prose(chance, 300)
    return fields


def encoded(number: int, size: Size) -> bytes:
    """Return the document's BSON, in which bytes 9 to 21 are the `_id`."""
    return bson.encode(document(number, size))


def _word(chance: random.Random) -> str:
    return chance.choice(_WORDS)


def _prose(chance: random.Random, words: int) -> str:
    return " ".join(chance.choices(_WORDS, k=words))


def _money(chance: random.Random) -> Decimal128:
    return Decimal128(f"{chance.randrange(10**7)}.{chance.randrange(100):02d}")


def _moment(chance: random.Random) -> dt.datetime:
    return _EPOCH + dt.timedelta(milliseconds=chance.randrange(6 * 10**10))
