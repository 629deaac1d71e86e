"""JupyterHub, made to outlast a database that cannot be written, as on a disk that is full.

All of JupyterHub works in one session of its database. After a failed commit that session takes nothing until it is rolled
back, which only some of JupyterHub does: whoever asks next gets a 403, because nobody can be found. And a server whose end could
not be written stays "pending stop", which no request ends, until the hub is started again; one whose start could not be
written stays as ready although nobody waits for it. Here a failed commit is rolled back where it fails, an end is tried until
it is written, and a start that has failed comes to its end.
"""

import asyncio
from typing import Any

from jupyterhub import orm
from jupyterhub.app import JupyterHub
from jupyterhub.user import User, UserDict
from sqlalchemy.exc import OperationalError, PendingRollbackError, SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker
from traitlets import default

from deploy.hub.failure import FULL, StartFailed

_PAUSE, _LONGEST = 0.5, 5.0  # seconds between two attempts to write an end; doubles
_UNWRITTEN = (OperationalError, PendingRollbackError)


class WholeSession(Session):
    """A session that is of use after a commit has failed."""

    def commit(self) -> None:
        """Write everything, or forget it and raise."""
        try:
            super().commit()
        except SQLAlchemyError:
            self.rollback()
            raise


class SteadyUser(User):  # type: ignore[misc]  # JupyterHub has no types
    """A user whose servers come to their end."""

    async def spawn(self, server_name: str = "", *args: Any, **kwargs: Any) -> Any:
        """Start a server, as `User.spawn` does. What has failed leaves none, whatever it failed at."""
        try:
            return await super().spawn(server_name, *args, **kwargs)
        except Exception as error:
            if isinstance(error, SQLAlchemyError):
                self.db.rollback()
            spawner = self.spawners.get(server_name)
            if spawner is not None and spawner.server is not None:  # it failed where JupyterHub does not end it
                await self.stop(server_name)
            if isinstance(error, _UNWRITTEN):
                raise StartFailed("JupyterHub could not write its database.", FULL) from error
            raise

    async def stop(self, server_name: str = "") -> Any:
        """End a server, as `User.stop` does, again and again until the database takes it."""
        spawner, pause = self.spawners[server_name], _PAUSE
        while True:
            try:
                return await super().stop(server_name)
            except Exception as error:
                if isinstance(error, SQLAlchemyError):
                    self.db.rollback()
                if not isinstance(error, _UNWRITTEN):
                    spawner._stop_pending = False  # so that a request can end it
                    raise
                self.log.warning("The end of %s could not be written: %s", spawner._log_name, getattr(error, "orig", error))
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST)


class SteadyUsers(UserDict):  # type: ignore[misc]
    """Makes each user a `SteadyUser`."""

    def from_orm(self, orm_user: orm.User) -> SteadyUser:
        """The user of a row."""
        return SteadyUser(orm_user, self.settings)

    def __getitem__(self, key: Any) -> SteadyUser:
        """A user by object, row, name or number; `UserDict` makes one from a row without asking `from_orm`."""
        return super().__getitem__(self.add(key) if isinstance(key, orm.User) else key)  # type: ignore[no-any-return]


class Hub(JupyterHub):  # type: ignore[misc]
    """The hub that `deploy.hub` starts; its options are JupyterHub's."""

    @default("users")
    def _steady_users(self) -> SteadyUsers:
        return SteadyUsers(db_factory=lambda: self.db, settings=self.tornado_settings)

    def init_db(self) -> None:
        """Open the database."""
        super().init_db()
        engine = self.db.get_bind()
        self.db.close()
        self.session_factory = sessionmaker(bind=engine, class_=WholeSession, expire_on_commit=False)
        self.db = self.session_factory()
