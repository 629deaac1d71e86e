"""The database of one process: an asyncpg pool behind SQLAlchemy Core, and how a gap in it is waited out.

`Database.run` is the way in: it gives a function one transaction and, when the connection breaks or Postgres is
restarting, does it again until it is back or `wait` seconds have passed. So a function given to `run` must be
harmless when it is repeated: rows are created under ids that the caller chose, and states move by guarded updates. No
ORM session is used: the hot path's cost is Python's, and Core in batches costs half a hundredth of the ORM's time.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import asyncpg
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as NoConnection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from services.errors import Unreachable
from services.settings import DatabaseSettings

T = TypeVar("T")

# SQLSTATEs after which the same transaction may succeed: serialization failure, deadlock, lock timeout.
_CONFLICT = {"40001", "40P01", "55P03"}
# Admin shutdown, crash shutdown, cannot connect now, too many connections, disk full (which passes, or the operator sees it
# on /health). Class 08 is a broken connection.
_GONE = {"57P01", "57P02", "57P03", "53300", "53100"}
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
                "application_name": application, "jit": "off", "enable_seqscan": "off"}},
        )

    async def run(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Run `work` in one transaction and commit; repeated after a conflict or a lost connection.

        Raises `DatabaseGone` when the database stays away for longer than `database.wait` seconds.
        """
        deadline = time.monotonic() + self._wait
        pause = 0.05
        while True:
            try:
                async with self.engine.begin() as conn:
                    return await work(conn)
            except _TROUBLE as error:
                if sqlstate(error) not in _CONFLICT and not _gone(error):
                    raise
                if time.monotonic() + pause > deadline:
                    raise DatabaseGone("The database does not answer. Nothing is lost; try again in a minute.") from error
            await asyncio.sleep(pause)
            pause = min(pause * 2, 1.0)

    async def rows(self, statement: sa.Executable, parameters: dict[str, Any] | None = None) -> list[sa.Row[Any]]:
        """All rows of one statement, committed."""
        async def work(conn: AsyncConnection) -> list[sa.Row[Any]]:
            result = await conn.execute(statement, parameters or {})
            return list(result.all()) if result.returns_rows else []
        return await self.run(work)

    async def aclose(self) -> None:
        """Close all connections."""
        await self.engine.dispose()
