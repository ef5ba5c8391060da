"""The exchange with one Redis server: packed pipelines, an outcome per command, one retry loop, errors translated."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import chain, islice
from operator import itemgetter
from typing import Any, NamedTuple

import redis.exceptions as driver
from hiredis import pack_command

from stores.connection_faults import ConnectionFault, Kind, connection_fault
from stores.contract.fence import NO_FENCE, Fence
from stores.errors import OfframpError, PermanentError, TransientError
from stores.protocol_probe import suspect
from stores.redis.aws_login import Unsigned
from stores.redis.configuration import Durability
from stores.redis.connections import Connections
from stores.throttling.backoff import TIMING, Backoff, Left, Timing, retry_rest
from stores.throttling.batches import cut
from stores.throttling.rate_limiter import Pace

_log = logging.getLogger(__name__)

_NOTE_EVERY_S = 10.0
_STEPS = 500
_PIPELINE_BYTES = 2**20
"""What one pipeline holds at most (R72); a larger step goes alone."""

_CODES: tuple[tuple[type[driver.ResponseError], str], ...] = (
    (driver.OutOfMemoryError, "OOM"),
    (driver.ReadOnlyError, "READONLY"),
    (driver.NoPermissionError, "NOPERM"),
    (driver.MasterDownError, "MASTERDOWN"),
    (driver.ClusterDownError, "CLUSTERDOWN"),
    (driver.TryAgainError, "TRYAGAIN"),
    (driver.MovedError, "MOVED"),
    (driver.AskError, "ASK"),
    (driver.ExecAbortError, "EXECABORT"),
)
"""The driver cuts these codes off the server's text; every other text starts with its code."""

AGAIN: frozenset[str] = frozenset(
    ("OOM", "READONLY", "BUSY", "CLUSTERDOWN", "TRYAGAIN", "MASTERDOWN", "MISCONF", "NOREPLICAS")
)
"""Refusals that pass: the same command may succeed later (R70, R72). LOADING ends the driver's connection instead."""

THROTTLING = frozenset(("OOM", "BUSY", "MISCONF", "TRYAGAIN", "NOREPLICAS"))
"""Refusals of `AGAIN`, and LOADING, with which a server asks for less."""

AUTH = (
    driver.AuthenticationError,
    driver.AuthorizationError,
    driver.NoPermissionError,
    driver.AuthenticationWrongNumberOfArgsError,
)
"""What the driver raises for a user that is refused."""

NO_JSON = (
    "has no JSON.SET; use a server that has the JSON module (Redis 8, Redis Stack, valkey-json), or mapper: string"
)
LOST = (driver.ConnectionError, driver.TimeoutError, OSError)
"""What a connection raises that cannot be used or did not last."""

_ADVICE: Mapping[Kind, str] = {
    "no_tls": "write redis:// in `url`, or correct its port",
    "wants_tls": "write rediss:// in `url`",
    "untrusted": "set ca_certs to the certificate of its authority",
    "other_host": "name the host in `url` as the certificate does",
    "expired": "renew its certificate, or correct this machine's clock",
    "client_certificate": "set client_cert and client_key to a certificate that it accepts",
    "file": "correct the file of ca_certs, client_cert or client_key",
}
"""What to do about the faults of a connection that no waiting helps."""

Command = tuple[str | bytes, ...]
Refused = driver.ResponseError
"""One command's error reply."""


_MULTI, _EXEC, _ASKING = (pack_command((name,)) for name in ("MULTI", "EXEC", "ASKING"))


class Step(NamedTuple):
    """The commands of one record or address, packed: they succeed, fail and are sent again together."""

    number: int
    key: str
    packed: Sequence[bytes]
    """Each command by itself: in a cluster, ASKING may have to go before each."""
    atomic: bool
    """Whether they stand between MULTI and EXEC, so that the last reply holds the others' outcomes."""

    size_bytes: int
    """What it takes on the wire."""

    @classmethod
    def of(cls, number: int, key: str, *commands: Command) -> Step:
        """Return the step of these commands; steps of one key are applied in their order."""
        packed = [pack_command(command) for command in commands]  # type: ignore[arg-type]
        return cls(number, key, packed, False, sum(map(len, packed)))

    @classmethod
    def together(cls, number: int, key: str, *commands: Command) -> Step:
        """Return the step of these commands in a transaction."""
        packed = [_MULTI, *[pack_command(command) for command in commands], _EXEC]  # type: ignore[arg-type]
        return cls(number, key, packed, True, sum(map(len, packed)))


def failure(step: Step, replies: Sequence[Any]) -> Refused | None:
    """Return the first error among a step's replies; that of a command in a transaction tells more than EXEC's."""
    for reply in replies:
        if isinstance(reply, Refused):
            return reply
        if step.atomic and type(reply) is list:  # EXEC's
            return next((inner for inner in reply if isinstance(inner, Refused)), None)
    return None


def code(error: Refused) -> str:
    """Return the server's code, such as ``OOM`` or ``WRONGTYPE``."""
    name = next((code for kind, code in _CODES if isinstance(error, kind)), None)
    if name == "EXECABORT":  # "Transaction discarded because of: OOM command not allowed ..."
        return str(error).partition("because of: ")[2].partition(" ")[0] or name
    if str(error) == "Existing key has wrong Redis type":  # A JSON module's own words.
        return "WRONGTYPE"
    return name or str(error).partition(" ")[0]


class Server:
    """One database of a server, reached through connections that are opened when first used, from any thread."""

    again = AGAIN
    """Codes of the refusals that pass."""

    def __init__(
        self,
        connections: Connections,
        retry_deadline_s: float,
        durability: Durability,
        *,
        timing: Timing = TIMING,
    ) -> None:
        """Take unconnected connections."""
        self.timing = timing
        self._connections = connections
        self.place = connections.server
        self._deadline_s = retry_deadline_s
        self._durability = durability
        self.pace: Pace | None = None
        """What writing waits for."""
        self._noted_at = self.timing.clock()

    def run(
        self, steps: Iterable[Step], deadline_s: float | None = None, *, fence: Fence = NO_FENCE
    ) -> Iterator[tuple[Step, Sequence[Any]]]:
        """Yield each step, in any order, with its replies, errors among them but none that may pass.

        The fence is looked at right before each pipeline. Raises TransientError when nothing got through for the
        deadline, PermanentError for a refused user.
        """
        for pipeline in _pipelines(steps):
            yield from self._carry_out(pipeline, self._deadline_s if deadline_s is None else deadline_s, fence)

    def apply(self, steps: Iterable[Step], fence: Fence) -> Iterator[tuple[Step, Refused]]:
        """Carry the steps out and yield those refused, once the replicas asked for hold the others; raises as `run`."""
        for pipeline in _pipelines(steps):
            for step, replies in self._carry_out(pipeline, self._deadline_s, fence, writing=True):
                refused = failure(step, replies)
                if refused is not None:
                    yield step, refused

    def ask(self, *commands: Command, key: str = "", deadline_s: float | None = None) -> Sequence[Any]:
        """Return the replies to a few commands, none of them an error; they may name no key but this one."""
        ((step, replies),) = self.run([Step.of(0, key, *commands)], deadline_s)
        error = failure(step, replies)
        if error is not None:
            raise self.refusal(error) from error
        return replies

    def primaries(self, deadline_s: float | None = None) -> Sequence[Server]:
        """Return every server that holds keys."""
        return (self,)

    def layout(self) -> object:
        """Return which server holds which keys, to be compared with a later answer; None while keys are moving."""
        return ()

    def stale(self) -> None:
        """The idle connections are closed: after a fail-over they lead to what is a replica now."""
        self._connections.close_idle()

    @contextmanager
    def wire(self, key: str = "") -> Iterator[Wire]:
        """Give one connection for as long as the block lasts; raises an error of `LOST` if there is none.

        Commands sent over it may name only this key, or keys that the server itself named.
        """
        # A server without TLS lets a handshake wait for as long as an answer may take.
        if self._connections.encrypted and (mismatch := self._connections.tls_mismatch()) is not None:
            raise self._mismatched(mismatch)
        with ExitStack() as closing:
            try:
                connection = closing.enter_context(self._connections.one())
            except driver.RedisError as error:
                if isinstance(error, LOST) and not isinstance(error, AUTH):
                    if (lasting := self._lasting(error)) is not None:
                        raise lasting from error
                    raise
                raise self.refusal(error) from error
            try:
                yield Wire(connection, self)
            except LOST as error:
                if (lasting := self._lasting(error)) is not None:
                    raise lasting from error
                raise

    def refusal(self, error: driver.RedisError) -> PermanentError:
        """Return an error reply that will not pass as what a person must act upon."""
        if isinstance(error, AUTH):
            text = f"{self.place} refuses this user ({_shown(error)}); correct the user, the password or its ACL"
            return PermanentError("E-RDS-AUTH", text)
        if isinstance(error, driver.AskError):
            return PermanentError("E-RDS-CLUSTER", f"{self.place} is a cluster; set cluster: true beside its url")
        if str(error).startswith("unknown command 'JSON."):
            return PermanentError("E-RDS-NOJSON", f"{self.place} {NO_JSON}")
        return PermanentError("E-RDS-SERVER", f"{self.place} refused a command: {_shown(error)}")

    def _lasting(self, error: Exception) -> OfframpError | None:
        """Return the error of a connection that no waiting helps, None where it may."""
        if isinstance(error, Unsigned):
            return None if isinstance(error.fault, TransientError) else error.fault
        fault = connection_fault(str(error))
        if fault is None and self._connections.encrypted and "No such file" in str(error):
            return PermanentError(
                "E-RDS-TLS", f"{self.place}: the file of ca_certs, client_cert or client_key does not exist; correct it"
            )
        if suspect(fault):
            fault = self._connections.tls_mismatch() or fault
        return None if fault is None or fault.passes else self._mismatched(fault)

    def _mismatched(self, fault: ConnectionFault) -> PermanentError:
        return PermanentError("E-RDS-TLS", f"{self.place}: {fault.cause}; {_ADVICE[fault.kind]}")

    def gave_up(self, error: Exception, deadline_s: float | None = None) -> TransientError:
        """Return the last error of a series of attempts as what may pass."""
        tried = f"for {self._deadline_s if deadline_s is None else deadline_s:g} s"
        if isinstance(error, _Unreplicated):
            text = (
                f"{self.place}: {error} {tried}; check its replication or lower `durability`, then run the same command"
            )
            return TransientError("E-RDS-REPLICAS", text)
        if not isinstance(error, Refused):
            text = (
                f"{self.place} could not be reached {tried} ({type(error).__name__}: {error}); check it and what is in"
                " between, and resume"
            )
            return TransientError("E-RDS-UNREACHABLE", text)
        if code(error) == "OOM":
            text = f"{self.place} was out of memory {tried}{self._memory()}; raise maxmemory, then run the same command"
            return TransientError("E-RDS-OOM", text)
        text = f"{self.place} answered {code(error)} {tried}; run the same command when it takes writes"
        return TransientError("E-RDS-UNAVAILABLE", text)

    def close(self) -> None:
        """Release the connections; a later call opens new ones."""
        self._connections.close()

    def attempt(
        self, steps: Sequence[Step], fence: Fence, *, writing: bool = False, asking: bool = False
    ) -> tuple[Sequence[Sequence[Any] | None], Exception | None]:
        """Return each step's replies, None where there are none, and why there are none.

        With `writing`, those of steps that all succeeded are left out, and the replicas asked for hold them.
        """
        try:
            with self.wire() as wire:
                replies = wire.exchange(steps, fence, asking=asking, writing=writing)
                if writing:
                    self.replicate(wire)
                return replies, None
        except LOST as error:
            # What the server did with it is unknown: all of it is sent again, which changes nothing twice (R72).
            return [None] * len(steps), error

    def _carry_out(
        self, steps: Sequence[Step], deadline_s: float, fence: Fence, *, writing: bool = False
    ) -> list[tuple[Step, Sequence[Any]]]:
        """Return the steps with their replies; with `writing`, steps that succeeded may be left out."""
        backoff = Backoff(deadline_s, timing=self.timing)
        done: list[tuple[Step, Sequence[Any]]] = []

        def send(waiting: Sequence[Step]) -> Left[Step] | None:
            turn = None
            if writing and self.pace is not None:
                turn = self.pace.ask(len(waiting), patience_s=backoff.left_s)
                backoff.extend(turn.excused_s)
            answers, cause = self.attempt(waiting, fence, writing=writing)
            again: list[Step] = []
            if not writing or any(answers) or cause is not None:
                late: set[str] = set()
                for step, replies in zip(waiting, answers, strict=True):
                    refused = failure(step, replies) if replies is not None else None
                    if refused is not None and code(refused) in self.again:
                        cause = refused
                        late.add(step.key)
                    # What followed on the same key follows again, or the earlier record would win.
                    if replies is None or step.key in late:
                        again.append(step)
                    else:
                        done.append((step, replies))
            if turn is not None and self.pace is not None:
                self.pace.record_result(turn, len(again), throttled=_throttling(cause))
            if not again:
                return None
            self._note_waiting(cause, backoff.left_s)
            self.stale()
            return Left(again, cause or driver.ConnectionError("no answer"))

        retry_rest(send, steps, backoff, gave_up=lambda error: self.gave_up(error, deadline_s))
        return done

    def _note_waiting(self, cause: Exception | None, left_s: float) -> None:
        """Whoever waits reads what for, now and then."""
        now = self.timing.clock()
        if now - self._noted_at >= _NOTE_EVERY_S:
            self._noted_at = now
            why = (
                f"answers {code(cause)}" if isinstance(cause, Refused) else f"does not answer ({type(cause).__name__})"
            )
            _log.warning("%s %s; it is asked again, for %.0f s more at most", self.place, why, left_s)

    def replicate(self, wire: Wire) -> None:
        """Wait until the replicas asked for hold what this connection wrote; raises _Unreplicated if they do not."""
        wanted = self._durability.wait
        if wanted is None:
            (info,) = wire.demand([Step.of(0, "", ("INFO", "replication"))])
            wanted = min(1, int(parsed_info(info).get("connected_slaves", "0")))
        if wanted:
            (acknowledged,) = wire.demand([Step.of(0, "", ("WAIT", str(wanted), str(self._durability.timeout_ms)))])
            if acknowledged < wanted:
                raise _Unreplicated(f"{acknowledged} of {wanted} replicas acknowledged what was written")

    def _memory(self) -> str:
        try:
            with self.wire() as wire:
                info = parsed_info(wire.demand([Step.of(0, "", ("INFO", "memory"))])[0])
        except (*LOST, PermanentError):
            return ""  # The lack of memory is the news; a server that falls silent now adds none.
        return f": used_memory {info.get('used_memory', '?')} of maxmemory {info.get('maxmemory', '?')} bytes"


class Wire:
    """One connection while it is held; it is closed, not given back in use, when replies are left unread."""

    def __init__(self, connection: Any, server: Server) -> None:
        """Take a connection of the driver's pool."""
        self._connection = connection
        self._server = server

    def exchange(
        self, steps: Sequence[Step], fence: Fence = NO_FENCE, *, asking: bool = False, writing: bool = False
    ) -> Sequence[Sequence[Any]]:
        """Return each step's replies, errors among them; raises an error of `LOST` if the connection broke.

        Every request to a server goes through here, and the fence is looked at right before it. With `asking`, a node
        of a cluster serves a slot that is still being moved to it. With `writing`, where no reply is an error there are
        none.
        """
        sent = [_asked(step) if asking else step.packed for step in steps]
        pipeline = b"".join(chain.from_iterable(sent))
        fence.ensure()
        try:
            self._connection.send_packed_command([pipeline], check_health=False)
            received, errors = self._connection.replies(sum(map(len, sent)))
            if writing and not errors:
                return [()] * len(steps)
            replies = iter(received)
            answers = [list(islice(replies, len(parts))) for parts in sent]
            return [_unasked(step, answer) for step, answer in zip(steps, answers, strict=True)] if asking else answers
        except BaseException as error:
            self._connection.disconnect()
            # NOAUTH is an error of the connection to the driver, but not one that waiting helps.
            if isinstance(error, driver.RedisError) and (isinstance(error, AUTH) or not isinstance(error, LOST)):
                raise self._server.refusal(error) from error
            raise

    def demand(self, steps: Sequence[Step]) -> list[Any]:
        """Return the only reply of each step, never an error: an error that may pass counts as a lost connection."""
        replies = [reply for (reply,) in self.exchange(steps)]
        for reply in replies:
            if isinstance(reply, Refused):
                # WRONGTYPE: the key became another since its type was asked for.
                if code(reply) in self._server.again or code(reply) == "WRONGTYPE":
                    raise driver.ConnectionError(_shown(reply)) from reply
                raise self._server.refusal(reply) from reply
        return replies


def _throttling(cause: Exception | None) -> bool:
    loading = isinstance(cause, driver.BusyLoadingError)
    return loading or (isinstance(cause, Refused) and code(cause) in THROTTLING)


def parsed_info(reply: bytes) -> Mapping[str, str]:
    """Return the fields of an INFO reply."""
    lines = (line.partition(":") for line in reply.decode(errors="replace").splitlines())
    return {name: value for name, colon, value in lines if colon}


class _Unreplicated(driver.ConnectionError):
    """Too few replicas hold what was written: as good as a connection lost."""


def _unasked(step: Step, replies: Sequence[Any]) -> list[Any]:
    """Return the replies to the step's own commands."""
    return list(replies[1:] if step.atomic else replies[1::2])


def _asked(step: Step) -> Sequence[bytes]:
    """Return the step's commands, each after an ASKING of its own; one before MULTI holds until EXEC."""
    if step.atomic:
        return [_ASKING, *step.packed]
    return [part for command in step.packed for part in (_ASKING, command)]


_size_bytes = itemgetter(Step._fields.index("size_bytes"))


def _pipelines(steps: Iterable[Step]) -> Iterator[list[Step]]:
    """Yield the steps in their order, cut where a pipeline would pass its number of steps or bytes (R72)."""
    return cut(steps, _STEPS, _PIPELINE_BYTES, _size_bytes)


def _shown(error: Exception) -> str:
    """Return the server's text without the arguments that it repeats from a command it does not know."""
    return str(error).partition(", with args")[0]
