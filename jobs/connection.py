"""Runs the script on Redis: connections, time limits, one more try, and errors in the system's words.

Knows no transition. On each new connection it tells the script which server (`run_id`) answers: after a
restart or a failover all leases are extended once, before anything else is done there.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeAlias, cast

from redis import exceptions
from redis.asyncio.connection import AbstractConnection, BlockingConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from jobs.errors import ConfigurationError, StoreUnavailable
from jobs.scripts import Script
from jobs.settings import Settings

__all__ = ["Argument", "CredentialsRefused", "Server", "pool_text"]

Argument: TypeAlias = str | int

_CONNECTIONS = 32  # a call holds one for a round trip; who finds none waits
_CONNECT_SECONDS = 3.0
_ANSWER_SECONDS = 5.0
_WAIT_SECONDS = 5.0  # for a free connection

#: Redis' error codes that say "not now", also within the error of a script that ran into one.
_NOT_NOW = re.compile(
    r"(?:^|[\s-])(OOM|READONLY|MISCONF|LOADING|BUSY|NOREPLICAS|MASTERDOWN|CLUSTERDOWN|TRYAGAIN)\s"
)
_REASONS = {
    "OOM": "Redis is out of memory",
    "READONLY": "this Redis is a read-only replica",
    "MISCONF": "Redis cannot save to its disk, and takes no writes",
    "LOADING": "Redis is still loading its data",
    "BUSY": "Redis is busy with another script",
    "NOREPLICAS": "Redis has too few replicas, and takes no writes",
}


class NoFreeConnection(StoreUnavailable):
    """All connections of this process to Redis were at work for as long as a call waits for one."""


class CredentialsRefused(StoreUnavailable):
    """Redis does not know the user, the password or the right to do this."""


def pool_text(settings: Settings) -> str:
    """What each call tells the script about the pool; times in microseconds."""
    numbers = (
        settings.pool_limit,
        settings.pool_grace_seconds * 1_000_000,
        settings.lease_seconds * 1_000_000,
        settings.backlog_limit,
    )
    queues = (f"{queue}={weight:.6f}" for queue, weight in settings.queues.items())
    return " ".join((settings.pool, *map(str, numbers), *queues))


class Server:
    """One Redis, for one event loop. Nothing is sent before the first call."""

    def __init__(
        self,
        settings: Settings,
        script: Script,
        connections: int = _CONNECTIONS,
        wait_seconds: float = _WAIT_SECONDS,
    ) -> None:
        """Raises ConfigurationError for a URL that is none.

        `connections`: the most that are open; who finds none free waits for one, for `wait_seconds`.
        """
        self._script = script
        self._sha = script.sha
        self._pool_text = pool_text(settings)
        try:
            self._pool = BlockingConnectionPool.from_url(
                settings.redis_url,
                max_connections=connections,
                timeout=wait_seconds,
                socket_connect_timeout=_CONNECT_SECONDS,
                socket_timeout=_ANSWER_SECONDS,
                socket_keepalive=True,
                protocol=2,
                decode_responses=True,
                encoding_errors="replace",  # a damaged record must not spoil a page
                retry=Retry(NoBackoff(), 0),  # `call` tries again, and knows when it may
                redis_connect_func=self._greet,
            )
        except ValueError:
            # The text may hold a password: it is not repeated.
            raise ConfigurationError(
                "REDIS_URL: not a URL of the form redis://:PASSWORD@HOST:PORT/0"
            ) from None

    async def close(self) -> None:
        """Close all connections."""
        await self._pool.disconnect()

    async def call(self, transition: str, *arguments: Argument) -> list[Any]:
        """Run a transition. Raises StoreUnavailable.

        A call whose connection broke is made once more: every transition that is run twice either says
        again what it said first or finds that there is nothing left to do.
        """
        with _in_our_words():
            try:
                return await self._run(transition, arguments)
            except (exceptions.AuthenticationError, exceptions.BusyLoadingError):
                raise
            except exceptions.ConnectionError:
                return await self._run(transition, arguments)

    async def info(self) -> Mapping[str, str]:
        """What the server says about itself; nothing where it does not. Raises StoreUnavailable."""
        with _in_our_words():
            async with self._connection() as connection:
                try:
                    text = await _ask(connection, "INFO")
                except exceptions.NoPermissionError:
                    return {}
        lines = (line.partition(":") for line in str(text).splitlines())
        return {name: value for name, colon, value in lines if colon}

    async def read(self, key: str) -> str | None:
        """The text under a key. Raises StoreUnavailable."""
        with _in_our_words():
            async with self._connection() as connection:
                text = await _ask(connection, "GET", key)
        return None if text is None else str(text)

    async def write(self, key: str, text: str) -> None:
        """Put a text under a key. Raises StoreUnavailable."""
        with _in_our_words():
            async with self._connection() as connection:
                await _ask(connection, "SET", key, text)

    def subscriber(self) -> AbstractConnection:
        """A connection of its own, not yet connected, without a time limit for answers."""
        settings = dict(self._pool.connection_kwargs) | {"socket_timeout": None}
        del settings["redis_connect_func"]
        connection: AbstractConnection = self._pool.connection_class(**settings)
        return connection

    async def _run(self, transition: str, arguments: Sequence[Argument]) -> list[Any]:
        async with self._connection() as connection:
            return await self._eval(connection, transition, arguments)

    async def _eval(
        self, connection: AbstractConnection, transition: str, arguments: Sequence[Argument]
    ) -> list[Any]:
        rest = (0, transition, self._pool_text, *arguments)
        try:
            answer = await _ask(connection, "EVALSHA", self._sha, *rest)
        except exceptions.NoScriptError:
            answer = await _ask(connection, "EVAL", self._script.text, *rest)
        return cast("list[Any]", answer)  # what the end of the script builds

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[AbstractConnection]:
        try:
            connection = await self._pool.get_connection()  # type: ignore[no-untyped-call]  # its decorator has no types
        except exceptions.ConnectionError as error:
            # The pool's own: it waited. A connection that could not be made has a number of the system's.
            if isinstance(error.__cause__, TimeoutError) and error.__cause__.errno is None:
                raise NoFreeConnection(
                    f"all {self._pool.max_connections} connections of this process to Redis were in use for "
                    f"{self._pool.timeout:g} s"
                ) from None
            raise
        try:
            yield connection
        finally:
            await self._pool.release(connection)

    async def _greet(self, connection: AbstractConnection) -> None:
        await connection.on_connect()
        try:
            info = await _ask(connection, "INFO", "server")
        except exceptions.NoPermissionError:
            return  # a service that hides it: then a restart may cost a lease
        found = re.search(r"^run_id:(\w+)", str(info), re.MULTILINE)
        if found:
            await self._eval(connection, "boot", (found[1],))


async def _ask(connection: AbstractConnection, *command: Argument) -> object:
    await connection.send_command(*command, check_health=False)
    return await connection.read_response()


class _in_our_words:  # noqa: N801  # reads as a statement, as contextlib.suppress does
    def __enter__(self) -> None:
        return None

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, exceptions.RedisError | OSError):
            ours = _translated(error)
            if ours is not None:
                raise ours from error


def _translated(error: Exception) -> StoreUnavailable | None:
    match error:
        case exceptions.AuthenticationError() | exceptions.AuthorizationError():
            return CredentialsRefused("Redis refuses the user or the password of REDIS_URL")
        case exceptions.NoPermissionError():
            return CredentialsRefused("the user of REDIS_URL may not do this in Redis")
        case exceptions.OutOfMemoryError():
            return StoreUnavailable(_REASONS["OOM"])
        case exceptions.ReadOnlyError():
            return StoreUnavailable(_REASONS["READONLY"])
        case exceptions.BusyLoadingError():
            return StoreUnavailable(_REASONS["LOADING"])
        case exceptions.TimeoutError() | TimeoutError():
            return StoreUnavailable("Redis did not answer in time")
        case exceptions.ConnectionError() | OSError():
            return StoreUnavailable("Redis cannot be reached")
        case exceptions.ResponseError():
            found = _NOT_NOW.search(f"{error} ")
            if found:
                return StoreUnavailable(_REASONS.get(found[1], "Redis takes no commands at the moment"))
    return None
