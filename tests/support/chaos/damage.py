"""Known damage to a target, past the program, to see that a verification finds it and a repair mends it."""

from __future__ import annotations

import json
import random
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any

from chaos.forms import Content, RouteCase
from chaos.readers import Readers


def damage(chance: random.Random, readers: Readers, route: RouteCase) -> None:
    """Remove a record of the route, change another, and add one that no document maps to."""
    held = readers.held(route)
    if len(held) < 3:
        return
    lost, changed, copied = chance.sample(sorted(held), 3)
    match route.target:
        case "redis":
            _in_redis(readers, route, held, lost, changed, copied)
        case "dynamodb":
            _in_dynamodb(readers, route, lost, changed, copied)
        case _:
            _in_elasticsearch(readers, route, lost, changed, copied)


def _in_redis(
    readers: Readers, route: RouteCase, held: Mapping[str, Content], lost: str, changed: str, copied: str
) -> None:
    redis = readers.nodes[0]
    key, _, member = lost.partition("\n")
    other, _, other_member = changed.partition("\n")
    nobody = _new_id(route, held)
    match route.form:
        case "sorted_set" | "geo":
            redis.zrem(key, member)
            redis.zincrby(other, 1, other_member)
            redis.zadd(other, {nobody: 1.0})
        case "member":
            redis.srem(key, member)
            redis.sadd(other, nobody)
        case "stream":
            redis.xdel(key, member)
            redis.xadd(other, {"_id": "9999999999999999"}, id="9999999999999999-0")
        case _:
            redis.delete(lost)
            _add_whole(redis, route, copied, nobody)
            match held[changed][0]:
                case "string":
                    redis.set(changed, b"0", keepttl=True)
                case "hash":
                    redis.hset(changed, "v", "changed")
                case "set":
                    redis.sadd(changed, "one more")
                case _:
                    redis.rpush(changed, "one more")


def _new_id(route: RouteCase, held: Mapping[str, Content]) -> str:
    """Return the text of an `_id` that no document has, in the form of the route's."""
    if route.keys.get("id_encoding") != "plain":
        return "s:nobody"
    ids = [address.removeprefix(f"{route.place}:").rpartition("\n")[2] for address in held]
    if all(text.lstrip("-").isdecimal() for text in ids):
        return "987654321987654321"
    return "f" * 24 if all(len(text) == 24 for text in ids) else "nobody"


def _add_whole(redis: Any, route: RouteCase, copied: str, nobody: str) -> None:
    """Add a key of its own for a document that there is not: what a repair takes for the route's has its `_id`."""
    key, value = f"{route.place}:{nobody}", nobody.removeprefix("s:")
    if route.form == "hash":
        redis.hset(key, "_id", value)
    elif route.form == "string":
        redis.set(key, json.dumps({"_id": int(value) if value.isdecimal() else value}, separators=(",", ":")))
    else:
        redis.copy(copied, key)


def _in_dynamodb(readers: Readers, route: RouteCase, lost: str, changed: str, copied: str) -> None:
    names = ["pk", "sk"] if route.by_group else ["_id"]

    def key_of(address: str) -> dict[str, Any]:
        return {name: {"S": part} for name, part in zip(names, address.split("\n", len(names) - 1), strict=True)}

    server = readers.dynamodb
    server.delete_item(TableName=route.place, Key=key_of(lost))
    item = server.get_item(TableName=route.place, Key=key_of(changed), ConsistentRead=True)["Item"]
    server.put_item(TableName=route.place, Item=item | {"v": {"S": "changed"}})
    item = server.get_item(TableName=route.place, Key=key_of(copied), ConsistentRead=True)["Item"]
    server.put_item(TableName=route.place, Item=item | {names[-1]: {"S": f"{item[names[-1]]['S']}-nobody"}})


def _in_elasticsearch(readers: Readers, route: RouteCase, lost: str, changed: str, copied: str) -> None:
    def send(method: str, identifier: str, body: Any = None) -> Any:
        at = f"{readers.elasticsearch}/{route.place}/_doc/{urllib.parse.quote(identifier, safe='')}"
        content = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(at, content, {"Content-Type": "application/json"}, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read())

    send("DELETE", lost)
    send("PUT", changed, send("GET", changed)["_source"] | {"v": -1})
    send("PUT", f"{copied[:400]}-nobody", send("GET", copied)["_source"])
