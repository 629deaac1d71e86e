"""The database of one process: an asyncpg pool behind SQLAlchemy Core, and how a gap in it is waited out.

`Database.run` is the way in: it gives a function one transaction and, when the connection breaks or Postgres is
restarting, does it again until it is back or `wait` seconds have passed. So a function given to `run` must be
harmless when it is repeated: rows are created under ids that the caller chose, and states move by guarded updates. No
ORM session is used: the hot path's cost is Python's, and Core in batches costs half a hundredth of the ORM's time.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import asyncpg
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as NoConnection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from services.errors import Unreachable
from services.observe.breakers import Breaker
from services.settings import DatabaseSettings

T = TypeVar("T")

# SQLSTATEs after which the same transaction may succeed: serialization failure, deadlock, lock timeout.
_CONFLICT = {"40001", "40P01", "55P03"}
# Admin shutdown, crash shutdown, cannot connect now, too many connections, disk full (which passes, or the operator sees it
# on /health), idle in a transaction for too long. Class 08 is a broken connection.
_GONE = {"57P01", "57P02", "57P03", "53300", "53100", "25P03"}
# What is thrown besides: asyncpg's own errors while a connection is made, and the pool's when none is free.
_TROUBLE = (DBAPIError, NoConnection, asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError)
_PATIENCE = 10.0  # seconds for one statement; a connection that is silent for longer is dead, and no statement takes as long


class DatabaseGone(Unreachable):
    """The database did not come back in time."""

    code = "database_unreachable"
    status = 503


def sqlstate(error: BaseException) -> str:
    """The SQLSTATE of a database error, or an empty text."""
    origin = getattr(error, "orig", None) or error
    return str(getattr(origin, "sqlstate", None) or getattr(origin, "pgcode", None) or "")


def _gone(error: BaseException) -> bool:
    if isinstance(error, (ConnectionError, TimeoutError, FileNotFoundError, InterfaceError, NoConnection, asyncpg.InterfaceError)):
        return True
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    return sqlstate(error) in _GONE or sqlstate(error).startswith("08") or (isinstance(error, OperationalError) and not sqlstate(error))


class Database:
    """An engine and the patience that goes with it. Make it inside the event loop that uses it."""

    def __init__(self, settings: DatabaseSettings, *, application: str = "dockyard", patience: float = _PATIENCE) -> None:
        self._wait = settings.wait
        self.most_waiting = settings.waiting
        self._waiting = 0
        self.breaker = Breaker("Database", threshold=3, longest=0.5, patience=2.0)
        self.engine: AsyncEngine = create_async_engine(
            settings.url.get_secret_value(),
            pool_size=settings.pool,
            max_overflow=0,
            pool_timeout=settings.wait,
            pool_use_lifo=True,
            hide_parameters=True,
            connect_args={"timeout": 5, "command_timeout": patience, "server_settings": {
                # Statements are planned once and kept. A plan that was made while a table was empty would read all of it
                # ever after; every statement of ours has an index to go by.
                "application_name": application, "jit": "off", "enable_seqscan": "off",
                # A process that is paused in a transaction lets go of its locks before those who wait for them give up.
                "idle_in_transaction_session_timeout": str(int(patience * 500)),  # ms
                # Connections that the network has forgotten count as clients until Postgres finds out: within a minute, not two hours.
                "tcp_keepalives_idle": "30", "tcp_keepalives_interval": "10", "tcp_keepalives_count": "3"}},
        )

    async def run(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Run `work` in one transaction and commit; repeated after a conflict or a lost connection.

        Raises `DatabaseGone` when the database stays away for longer than `database.wait` seconds, and at once where too many
        wait for it already. Of all who wait one asks now and then whether it is back.
        """
        deadline = time.monotonic() + self._wait
        pause, waiting = 0.05, False
        try:
            while True:
                wait = self.breaker.wait()
                if not wait:
                    try:
                        async with self.engine.begin() as conn:
                            result = await work(conn)
                        self.breaker.succeeded()
                        return result
                    except _TROUBLE as error:
                        wait = self._trouble(error, pause)
                        cause: BaseException | None = error
                    except asyncio.CancelledError:
                        self.breaker.abandoned()
                        raise
                    except BaseException:
                        self.breaker.succeeded()
                        raise
                    pause = min(pause * 2, 1.0)
                else:
                    cause = None
                if time.monotonic() + wait > deadline:
                    raise DatabaseGone("The database does not answer. Nothing is lost; try again in a minute.") from cause
                if not waiting:
                    if self._waiting >= self.most_waiting:
                        raise DatabaseGone("The database does not answer, and many wait for it already. Try again in a minute.") from cause
                    waiting = True
                    self._waiting += 1
                await asyncio.sleep(wait)
        finally:
            self._waiting -= waiting

    def _trouble(self, error: BaseException, pause: float) -> float:
        """Seconds to wait after an error, which is raised again where waiting is of no use."""
        if sqlstate(error) in _CONFLICT:
            self.breaker.succeeded()
        elif _gone(error):
            self.breaker.failed("The database does not answer.")
        else:
            self.breaker.succeeded()
            raise error
        return pause * random.uniform(0.7, 1.3)  # noqa: S311 - to spread, not to hide

    async def rows(self, statement: sa.Executable, parameters: dict[str, Any] | None = None) -> list[sa.Row[Any]]:
        """All rows of one statement, committed."""
        async def work(conn: AsyncConnection) -> list[sa.Row[Any]]:
            result = await conn.execute(statement, parameters or {})
            return list(result.all()) if result.returns_rows else []
        return await self.run(work)

    async def aclose(self) -> None:
        """Close all connections."""
        await self.engine.dispose()
