"""Indexes of tables that are in use, for migrations: made and dropped CONCURRENTLY, so that nobody who writes has to wait.

That cannot be part of a transaction. PostgreSQL waits for every transaction that is older instead, for which there is no limit
here, since nobody waits for it meanwhile; and whatever interrupts it leaves an index that is kept up to date and never used
(`indisvalid` is false). So such a one is dropped first, and one that is there and good is left as it is: a migration of
nothing but these may be made again at any time.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

_GOOD = sa.text("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(:name)")


def create(name: str, table: str, columns: Sequence[str], where: str | None = None) -> None:
    """Make an index, unless it is there and good. Ends the migration's transaction and begins another one."""
    with op.get_context().autocommit_block():
        _without_limits()
        good = op.get_bind().execute(_GOOD, {"name": name}).scalar()
        if good:
            return
        if good is not None:
            op.drop_index(name, table_name=table, postgresql_concurrently=True)
        op.create_index(
            name, table, list(columns), postgresql_where=None if where is None else sa.text(where), postgresql_concurrently=True)


def drop(name: str, table: str) -> None:
    """Drop an index, if it is there. Ends the migration's transaction and begins another one."""
    with op.get_context().autocommit_block():
        _without_limits()
        op.drop_index(name, table_name=table, if_exists=True, postgresql_concurrently=True)


def _without_limits() -> None:
    """`services.db.migrate` sets them again for the next migration."""
    op.execute("SET lock_timeout = 0")
    op.execute("SET statement_timeout = 0")
