"""A URL that its readers take apart in several ways is refused, and nothing of it is shown."""

from __future__ import annotations

import pytest

from stores.elasticsearch.configuration import Connection as Elasticsearch
from stores.mongodb.configuration import Connection as MongoDB
from stores.redis.configuration import Connection as Redis
from stores.urls import check_url

ODD = [
    *("ada:12#34@h:6379", "ada:12?34@h", "ada:12/34@h", "ada:12@34@h", "ada:1:2@h", "a/da:12@h", "ada:1%2@h"),
    *("ada:1[2@h", "ada:1 2@h", "ada:1\t2@h", "ada:1\n2@h", "ada:12\u202e@h", "ada:#@h", "h/x#y", "h/?a=b@c"),
]


@pytest.mark.parametrize("rest", ODD)
def test_an_odd_password_is_refused_and_not_shown(rest: str) -> None:
    for make, key in (
        (lambda: MongoDB(f"mongodb://{rest}", "shop"), "uri"),
        (lambda: Redis(f"redis://{rest}"), "url"),
        (lambda: Elasticsearch(f"https://{rest}"), "url"),
    ):
        with pytest.raises(ValueError, match=f"^{key}: .*percent-encoded") as refused:
            make()
        assert "12" not in str(refused.value)
        assert "ada" not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "mongodb://u:p%23%3F%2F%40%3A%25@h1:27017,[::1]:2/db?replicaSet=rs&tlsCAFile=/etc/ca.pem",
        "mongodb+srv://u:p@cluster0.example.net",
        "redis://:p%20w@h:6379/0",
        "redis://h",
        "unix:///var/run/redis.sock?db=1",
        "https://u:p@h:9200/path",
        "${URL}",
        "",
    ],
)
def test_what_is_percent_encoded_is_taken(url: str) -> None:
    check_url("url", url)
