"""The indexes of what came with 0003, 0005, 0006 and 0007, made while old code goes on to write.

In a migration of their own, since none of it is part of a transaction: whatever interrupts it, it is made again from the begin.

Revision: 0009, after 0008.
"""

import sqlalchemy as sa
from alembic import op

from services.db.indexes import create, drop

revision = '0009'
down_revision = '0008'
branch_labels = None
depends_on = None
PHASE = "before"

OPEN = "state IN ('waiting', 'resolving', 'building', 'launching')"
HELD = "state IN ('ready', 'stopping')"
LIVE = "state IN ('waiting', 'resolving', 'building', 'launching', 'ready', 'stopping')"
INDEXES = (
    ('event_news', 'event', ('xact', 'launch', 'seq'), "xact IS NOT NULL AND kind NOT IN ('progress', 'notice')"),
    ('launch_failed', 'launch', ('ended_at',), "state = 'failed'"),
    ('build_repository', 'build', ('repo_url', 'created_at'), None),
    ('launch_ended', 'launch', ('ended_at',), 'ended_at IS NOT NULL'),
    ('launch_addresses', 'launch', ('ended_at',), "ended_at IS NOT NULL AND client <> ''"),
    ('build_ended', 'build', ('ended_at',), 'ended_at IS NOT NULL'),
    ('launch_open_network', 'launch', ('network', 'client'), OPEN),
    ('launch_held_network', 'launch', ('network', 'client'), HELD),
    ('launch_live_repository', 'launch', ('repository',), LIVE),
)


def upgrade() -> None:
    for name, table, columns, where in INDEXES:
        create(name, table, columns, where)
    drop('launch_client', 'launch')  # which launch_open_network replaces


def downgrade() -> None:
    op.create_index('launch_client', 'launch', ['client'], unique=False, postgresql_where=sa.text(OPEN))
    for name, table, _, _ in INDEXES:
        op.drop_index(name, table_name=table)
