"""One process's access to Redis (or Valkey), a single server or a Cluster.

Guarantees: every operation ends within `RedisSettings.timeout_s`; whatever keeps Redis from answering (down, loading, read
only, out of memory, moved) is a :exc:`~gamebus.errors.StateError`, a passing error that the caller may try again. At most
`max_connections` are open; more callers wait, within the same deadline.

Not guaranteed: that an operation which raised had no effect. redis-py re-executes a command whose reply was lost, so only
what may run twice passes through here: reads, overwrites, and scripts that check before they count.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from redis.asyncio import BlockingConnectionPool, Redis, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import NoScriptError, RedisClusterException, RedisError

from gamebus.errors import ConfigurationError, StateError
from gamebus.settings import RedisSettings
from gamebus.state.keys import Keys
from gamebus.state.scripts import Script
from gamebus.telemetry.metrics import counter, gauge

Value: TypeAlias = str | bytes | int | float
Command: TypeAlias = Sequence[Value]

# One quick second try mends a pooled connection that a restart of the server has closed; an outage belongs to the caller.
_RETRIES: Final = 2
_HEALTH_CHECK_S: Final = 15
# RESP3 would add server pushes and other result types; nothing here needs them.
_RESP: Final = 2


@dataclass(frozen=True, slots=True)
class ConnectionStatistics:
    """What passed through a connection since it was made."""

    operations_total: int = counter("Operations on Redis; a pipeline is one.")
    failures_total: int = counter("Operations that Redis refused or did not answer in time.")
    scripts_loaded_total: int = counter("Scripts that a server did not know: after a start, a restart or a failover.")
    answering: bool = gauge("Whether the last operation was answered.")


class Connection:
    """Commands, pipelines and scripts under one deadline and one kind of error. Build it with :func:`connect`."""

    def __init__(self, client: Redis | RedisCluster, *, keys: Keys, timeout_s: float) -> None:
        self.keys = keys
        self._client = client
        self._timeout_s = timeout_s
        self._operations = 0
        self._failures = 0
        self._scripts_loaded = 0
        self._answering = False

    @property
    def answering(self) -> bool:
        """Whether the last operation was answered."""
        return self._answering

    async def execute(self, *command: Value) -> Any:
        """Run one command that may run twice.

        Raises:
            StateError: Redis refused or could not answer.
        """
        async with self._operation(str(command[0])):
            return await self._client.execute_command(*command)

    async def pipeline(self, commands: Sequence[Command]) -> list[Any]:
        """Run commands that may run twice in one round trip (one for each node of a Cluster), not atomically.

        Raises:
            StateError: any of them was refused or could not be answered.
        """
        if not commands:
            return []
        async with self._operation("pipeline"):
            return await self._send(commands, raise_on_error=True)

    async def run(self, script: Script, keys: Sequence[str], arguments: Sequence[Value]) -> Any:
        """Run a script. Its keys share one hash tag.

        Raises:
            StateError: Redis refused or could not answer.
        """
        return (await self.run_many(script, [(keys, arguments)]))[0]

    async def run_many(self, script: Script, calls: Sequence[tuple[Sequence[str], Sequence[Value]]]) -> list[Any]:
        """Run one script for several slots in one round trip; atomic within each call only.

        Raises:
            StateError: any call was refused or could not be answered; the others may have had their effect.
        """
        if not calls:
            return []
        commands = [("EVALSHA", script.sha, len(keys), *keys, *arguments) for keys, arguments in calls]
        async with self._operation(script.name):
            results = await self._send(commands, raise_on_error=False)
            unknown = [index for index, result in enumerate(results) if isinstance(result, NoScriptError)]
            if unknown:
                self._scripts_loaded += 1
                await self._client.script_load(script.text)
                again = await self._send([commands[index] for index in unknown], raise_on_error=False)
                for index, result in zip(unknown, again, strict=True):
                    results[index] = result
            for result in results:
                if isinstance(result, Exception):
                    raise result
            return results

    @contextlib.asynccontextmanager
    async def subscription(self, channel: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """Subscribe to a channel; messages published before are not seen.

        Raises:
            StateError: the subscription could not be made, or (while iterating) it was lost.
        """
        pubsub = self._client.pubsub(ignore_subscribe_messages=True)
        try:
            async with self._operation("SUBSCRIBE"):
                # A cluster client that has sent nothing yet does not know the slots, and its PubSub does not ask.
                await self._client.initialize()
                await pubsub.subscribe(channel)
            yield self._messages(pubsub)
        finally:
            with contextlib.suppress(RedisError, RedisClusterException, OSError):
                await pubsub.aclose()  # type: ignore[no-untyped-call]  # redis-py types PubSub in part only

    async def close(self) -> None:
        """Close all connections, also when it is cancelled meanwhile. Operations in progress fail."""
        # redis-py closes each connection in a task of its own, and one that is cancelled before its first step closes nothing.
        closing = asyncio.ensure_future(self._client.aclose())
        try:
            with contextlib.suppress(RedisError, RedisClusterException, OSError):
                await asyncio.shield(closing)
        finally:
            await asyncio.wait([closing])

    def statistics(self) -> ConnectionStatistics:
        """Counters since the start."""
        return ConnectionStatistics(
            operations_total=self._operations,
            failures_total=self._failures,
            scripts_loaded_total=self._scripts_loaded,
            answering=self._answering,
        )

    async def _send(self, commands: Sequence[Command], *, raise_on_error: bool) -> list[Any]:
        pipeline = self._client.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        results: list[Any] = await pipeline.execute(raise_on_error=raise_on_error)
        return results

    async def _messages(self, pubsub: Any) -> AsyncIterator[bytes]:
        while True:
            with _mapped("subscription"):
                # The health check is a ping, sent when the interval has passed: without the wake-up a half-open
                # connection would look like a quiet channel for ever.
                message = await pubsub.get_message(timeout=_HEALTH_CHECK_S)
            if message is not None:
                yield message["data"]

    @contextlib.asynccontextmanager
    async def _operation(self, name: str) -> AsyncIterator[None]:
        self._operations += 1
        try:
            with _mapped(name):
                async with asyncio.timeout(self._timeout_s):
                    yield
        except StateError:
            self._failures += 1
            self._answering = False
            raise
        self._answering = True


def connect(settings: RedisSettings) -> Connection:
    """Prepare access to Redis; nothing is sent before the first operation.

    Raises:
        ConfigurationError: the URL or the key prefix cannot be used.
    """
    options: dict[str, Any] = {
        "protocol": _RESP,
        "socket_timeout": settings.timeout_s,
        "socket_connect_timeout": settings.timeout_s,
        "health_check_interval": _HEALTH_CHECK_S,
        "retry": Retry(ExponentialBackoff(cap=0.1, base=0.01), _RETRIES),
    }
    client: Redis | RedisCluster
    try:
        if settings.cluster:
            client = RedisCluster.from_url(settings.url, max_connections=settings.max_connections, **options)
        else:
            pool = BlockingConnectionPool.from_url(
                settings.url, max_connections=settings.max_connections, timeout=settings.timeout_s, **options
            )
            client = Redis.from_pool(pool)
    except (ValueError, RedisClusterException) as error:
        raise ConfigurationError(f"GAMEBUS_REDIS__URL cannot be used: {error}") from error
    return Connection(client, keys=Keys(settings.key_prefix), timeout_s=settings.timeout_s)


@contextlib.contextmanager
def _mapped(name: str) -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise StateError(f"Redis did not answer {name} in time") from error
    # RedisClusterException is no RedisError.
    except (RedisError, RedisClusterException, OSError) as error:
        raise StateError(f"Redis refused {name} or was lost: {error}") from error
