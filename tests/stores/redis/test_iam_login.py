"""The login to ElastiCache and MemoryDB with IAM, before a local server that takes only tokens which are valid now."""

from __future__ import annotations

import hashlib
import hmac
import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

import pytest
import redis
from certificates import Authority
from redis_relay import eventually, round_trips
from relay import Seen, relaying
from tls_relay import tls_relay

from mappers.redis.records import String
from stores.errors import OfframpError, PermanentError, PlanError, TransientError
from stores.redis.aws_login import IamLogin
from stores.redis.configuration import Iam
from stores.redis.target import RedisTarget

KEY_ID, KEY_SECRET, SESSION = "AKIDEXAMPLE", "wJalrXUtnFEMI+bPxRfiCYEXAMPLEKEY", "a/session+token=="
USER, CACHE, REGION = "off.ramp+1", "my-cache", "eu-west-1"
Make = Callable[..., RedisTarget]


def signature(token: str, secret: str, service: str) -> str:
    """Return the signature that AWS computes of a token, by its documentation of SigV4 in a query."""
    host, _, query = token.partition("/?")
    given = [pair for pair in parse_qsl(query) if pair[0] != "X-Amz-Signature"]
    canonical = "&".join(f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}" for name, value in sorted(given))
    values = dict(given)
    request = f"GET\n/\n{canonical}\nhost:{host}\n\nhost\n{hashlib.sha256(b'').hexdigest()}"
    day = values["X-Amz-Date"][:8]
    scope = f"{day}/{REGION}/{service}/aws4_request"
    digest = hashlib.sha256(request.encode()).hexdigest()
    text = f"AWS4-HMAC-SHA256\n{values['X-Amz-Date']}\n{scope}\n{digest}"
    key = f"AWS4{secret}".encode()
    for part in (day, REGION, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.new(key, text.encode(), "sha256").hexdigest()


@dataclass
class Service:
    """What the service does with a login: the password of the server's user is each token while it is valid."""

    admin: redis.Redis
    service: str = "elasticache"
    lives_s: float = 900
    tokens: list[str] = field(default_factory=list)
    urls: list[str] = field(default_factory=list)

    def look(self, seen: Seen) -> None:
        if not seen.data.startswith((b"*3\r\n$4\r\nAUTH\r\n",)):
            return
        user, token = (part.decode() for part in seen.data.split(b"\r\n")[4:7:2])
        self.tokens.append(token)
        self.admin.acl_setuser(user, enabled=True, reset_passwords=True, keys=["*"], commands=["+@all"])
        if self.accepts(user, token):
            self.admin.execute_command("ACL SETUSER", user, f">{token}")

    def accepts(self, user: str, token: str) -> bool:
        values = dict(parse_qsl(token.partition("/?")[2]))
        made = datetime.strptime(values["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        scope = f"{values['X-Amz-Date'][:8]}/{REGION}/{self.service}/aws4_request"
        return (
            values["X-Amz-Credential"] == f"{KEY_ID}/{scope}"
            and token.startswith(f"{CACHE}/?")
            and (values["Action"], values["User"], values["X-Amz-Expires"]) == ("connect", user, "900")
            and values["X-Amz-Security-Token"] == SESSION
            and datetime.now(UTC) - made < timedelta(seconds=self.lives_s)
            and hmac.compare_digest(values["X-Amz-Signature"], signature(token, KEY_SECRET, self.service))
        )


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, unique: str) -> Path:
    """A profile of the test's own, which no other session has read."""
    file = tmp_path / "credentials"
    file.write_text(
        f"[{unique}]\naws_access_key_id={KEY_ID}\naws_secret_access_key={KEY_SECRET}\naws_session_token={SESSION}\n"
    )
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    return file


@contextmanager
def guarded(url: str, authority: Authority, at: tuple[str, int] = ("127.0.0.1", 0)) -> Iterator[tuple[Service, str]]:
    with ExitStack() as running:
        service = Service(running.enter_context(redis.Redis.from_url(url)))
        plain = running.enter_context(relaying(url, redis=True, look=service.look))
        upstream = urlsplit(plain.url).port or 0
        port = running.enter_context(tls_relay(upstream, authority.certificate("server"), at=at))
        service.admin.execute_command("ACL SETUSER", "default", "on", "nopass", "~*", "+@all")
        yield service, f"rediss://127.0.0.1:{port}"


@pytest.fixture
def guard(redis_server: Callable[..., str], authority: Authority) -> Iterator[tuple[Service, str]]:
    with guarded(redis_server(), authority) as one:
        yield one


def keys(authority: Authority, profile: str, **iam: Any) -> dict[str, Any]:
    login = {"service": "elasticache", "user": USER, "cache": CACHE, "region": REGION, "profile": profile} | iam
    return {"ca_certs": str(authority.file), "iam": Iam(**login)}


@pytest.mark.parametrize(
    ("service", "serverless"), [("elasticache", False), ("elasticache", True), ("memorydb", False)]
)
def test_the_password_is_a_token_that_the_service_computes_too(
    guard: tuple[Service, str], authority: Authority, make: Make, unique: str, service: str, serverless: bool
) -> None:
    guarding, url = guard
    guarding.service = service
    target = make(url, connection=keys(authority, unique, service=service, serverless=serverless))
    assert target.check() == []
    round_trips(target, [String(f"{unique}:1", b"v")])
    assert guarding.tokens
    for token in guarding.tokens:
        assert ("ResourceType=ServerlessCache" in token) is serverless
        assert f"%2F{service}%2Faws4_request" in token


def test_each_connection_gets_a_token_of_its_own_time(
    guard: tuple[Service, str], authority: Authority, make: Make, unique: str
) -> None:
    guarding, url = guard
    target = make(url, connection=keys(authority, unique))
    target.check()
    first = guarding.tokens[-1]
    guarding.lives_s = 2  # A token that is kept is soon too old.
    eventually(lambda: not guarding.accepts(USER, first))
    for client in guarding.admin.client_list():
        if client["user"] == USER:
            guarding.admin.client_kill_filter(_id=client["id"])
    round_trips(target, [String(f"{unique}:1", b"v")])
    assert guarding.tokens[-1] != first


def test_a_token_that_the_service_refuses_stops_at_once_and_is_not_shown(
    guard: tuple[Service, str], authority: Authority, make: Make, unique: str, caplog: pytest.LogCaptureFixture
) -> None:
    guarding, url = guard
    guarding.service = "memorydb"
    caplog.set_level(logging.INFO)
    with pytest.raises(PermanentError) as refused:
        make(url, deadline_s=3600, connection=keys(authority, unique)).check()
    assert refused.value.code == "E-RDS-AUTH"
    shown = f"{refused.value!r} {refused.value.__cause__!r} {caplog.text}"
    (token,) = set(guarding.tokens)
    for secret in (token, token.rpartition("=")[2], KEY_SECRET, quote(SESSION, safe=""), SESSION):
        assert secret not in shown


def test_a_cluster_is_logged_in_to_at_each_node(
    redis_server: Callable[..., str], authority: Authority, make: Make, unique: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as bus, socket.create_server(("127.0.0.1", 0)) as public:
        free = [each.getsockname()[1] for each in (bus, public)]
    server = redis_server(
        *("--cluster-enabled", "yes", "--cluster-port", str(free[0]), "--cluster-announce-port", str(free[1])),
        *("--cluster-announce-ip", "127.0.0.1", "--appendonly", "no"),
    )
    with guarded(server, authority, ("127.0.0.1", free[1])) as (guarding, url):
        guarding.admin.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16383)
        eventually(lambda: guarding.admin.execute_command("CLUSTER INFO")["cluster_state"] == "ok")
        target = make(url, connection=keys(authority, unique) | {"cluster": True})
        target.check()
        round_trips(target, [String(f"{unique}:{number}", b"v") for number in range(20)])
        assert guarding.tokens
        lost = make(url, deadline_s=3600, connection=keys(authority, "nobody") | {"cluster": True})
        with pytest.raises(PlanError) as refused:
            lost.check()
        assert refused.value.code == "E-RDS-CREDENTIALS"


def test_missing_credentials_are_told_with_what_to_do(
    guard: tuple[Service, str], authority: Authority, make: Make, unique: str, credentials: Path
) -> None:
    guarding, url = guard
    with pytest.raises(PlanError, match=r"no AWS profile 'nobody'; set iam\.profile") as unknown:
        make(url, deadline_s=3600, connection=keys(authority, "nobody")).check()
    assert unknown.value.code == "E-RDS-CREDENTIALS"
    credentials.write_text(f"[{unique}]\naws_access_key_id={KEY_ID}\n")
    with pytest.raises(OfframpError, match="aws_secret_access_key") as partial:
        make(url, deadline_s=3600, connection=keys(authority, unique)).check()
    assert (type(partial.value), partial.value.code) == (PermanentError, "E-RDS-CREDENTIALS")
    credentials.write_text("")
    assert guarding.tokens == []


def test_credentials_that_cannot_be_renewed_now_are_waited_for(
    guard: tuple[Service, str],
    authority: Authority,
    make: Make,
    unique: str,
    credentials: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    credentials.write_text(f"[base]\naws_access_key_id={KEY_ID}\naws_secret_access_key={KEY_SECRET}\n")
    Path(credentials.parent / "config").write_text(
        f"[profile {unique}]\nrole_arn=arn:aws:iam::123456789012:role/x\nsource_profile=base\n"
    )
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(TransientError, match="credentials cannot be renewed") as away:
        make(guard[1], deadline_s=0.5, connection=keys(authority, unique)).check()
    assert away.value.code == "E-RDS-UNREACHABLE"


@pytest.mark.parametrize(
    ("url", "iam", "fault"),
    [
        ("redis://cache.example", {}, "iam: needs TLS"),
        ("unix:///run/redis.sock", {}, "iam: needs TLS"),
        ("rediss://me:word@cache.example", {}, "iam: is the login"),
        ("rediss://cache.example?password=word", {}, "iam: is the login"),
        ("rediss-sentinel://cache.example/service", {}, "iam: neither ElastiCache nor MemoryDB has Sentinels"),
        ("rediss://cache.example", {"cache": "my-cache.abc.cache.amazonaws.com"}, "iam: cache is the name"),
        ("rediss://cache.example", {"cache": "My-Cache"}, "iam: cache is the name"),
        ("rediss://cache.example", {"user": ""}, "iam: user and region"),
        ("rediss://cache.example", {"service": "memorydb", "serverless": True}, "iam: serverless"),
    ],
)
def test_a_login_that_no_service_takes_is_refused(
    authority: Authority, make: Make, url: str, iam: dict[str, Any], fault: str
) -> None:
    for cluster in (False, True) if url.startswith("rediss://") else (False,):
        with pytest.raises(ValueError, match=fault):
            make(url, connection={"iam": keys(authority, "none", **iam)["iam"], "cluster": cluster})


def test_a_login_shows_nothing_of_its_password(authority: Authority, unique: str) -> None:
    login = IamLogin(keys(authority, unique)["iam"])
    user, token = login.get_credentials()
    assert user == USER
    assert token.rpartition("X-Amz-Signature=")[2] == signature(token, KEY_SECRET, "elasticache")
    assert token not in repr(login) + repr(vars(login))
