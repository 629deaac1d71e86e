"""The first schema.

Revision: 0001, the first.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = '0001'
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('build',
    sa.Column('id', sa.Text(), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('state', sa.Text(), server_default=sa.text("'queued'"), nullable=False),
    sa.Column('target', sa.Text(), server_default=sa.text("'built'"), nullable=False),
    sa.Column('cancel_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('image', sa.Text(), nullable=False),
    sa.Column('generation', sa.Integer(), server_default=sa.text('1'), nullable=False),
    sa.Column('no_cache', sa.Boolean(), server_default=sa.text('false'), nullable=False),
    sa.Column('provider', sa.Text(), nullable=False),
    sa.Column('repo_url', sa.Text(), nullable=False),
    sa.Column('commit', sa.Text(), nullable=False),
    sa.Column('ref', sa.Text(), server_default=sa.text("''"), nullable=False),
    sa.Column('options', postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False),
    sa.Column('environment', sa.Text(), nullable=True),
    sa.Column('makes_environment', sa.Boolean(), server_default=sa.text('false'), nullable=False),
    sa.Column('facts', postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False),
    sa.Column('marks', postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False),
    sa.Column('reason', postgresql.JSONB(astext_type=sa.Text()), nullable=True),
    sa.Column('lines', sa.Integer(), server_default=sa.text('0'), nullable=False),
    sa.Column('bytes', sa.BigInteger(), server_default=sa.text('0'), nullable=False),
    sa.Column('source_line', sa.Integer(), server_default=sa.text('0'), nullable=False),
    sa.Column('started_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('ended_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('lease_owner', sa.Text(), nullable=True),
    sa.Column('lease_until', sa.DateTime(timezone=True), nullable=True),
    sa.Column('epoch', sa.Integer(), server_default=sa.text('0'), nullable=False),
    sa.Column('attempt', sa.Integer(), server_default=sa.text('1'), nullable=False),
    sa.Column('crashes', sa.Integer(), server_default=sa.text('0'), nullable=False),
    sa.Column('due', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.PrimaryKeyConstraint('id')
    )
    op.create_index('build_claim', 'build', ['due'], unique=False, postgresql_where=sa.text("state IN ('queued', 'fetching', 'building', 'pushing')"))
    op.create_index('build_created', 'build', ['created_at', 'id'], unique=False)
    op.create_index('build_image', 'build', ['image'], unique=False)
    op.create_index('build_one_per_environment', 'build', ['environment'], unique=True, postgresql_where=sa.text("state = 'building' AND makes_environment"))
    op.create_index('build_one_per_image', 'build', ['image'], unique=True, postgresql_where=sa.text("state IN ('queued', 'fetching', 'building', 'pushing')"))
    op.create_table('event',
    sa.Column('launch', sa.Text(), nullable=False),
    sa.Column('seq', sa.Integer(), nullable=False),
    sa.Column('at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('kind', sa.Text(), nullable=False),
    sa.Column('state', sa.Text(), nullable=False),
    sa.Column('data', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    sa.PrimaryKeyConstraint('launch', 'seq')
    )
    op.create_table('image',
    sa.Column('name', sa.Text(), nullable=False),
    sa.Column('build', sa.Text(), nullable=True),
    sa.Column('environment', sa.Text(), nullable=True),
    sa.Column('built_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('used_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('gone', sa.Boolean(), server_default=sa.text('false'), nullable=False),
    sa.PrimaryKeyConstraint('name')
    )
    op.create_table('log_chunk',
    sa.Column('build', sa.Text(), nullable=False),
    sa.Column('first', sa.Integer(), nullable=False),
    sa.Column('last', sa.Integer(), nullable=False),
    sa.Column('at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('body', sa.Text(), nullable=False),
    sa.PrimaryKeyConstraint('build', 'first')
    )
    op.create_table('server',
    sa.Column('id', sa.Text(), nullable=False),
    sa.Column('launch', sa.Text(), nullable=True),
    sa.Column('attempt', sa.Integer(), nullable=False),
    sa.Column('image', sa.Text(), nullable=False),
    sa.Column('user_name', sa.Text(), nullable=False),
    sa.Column('state', sa.Text(), nullable=False),
    sa.Column('started_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('last_activity', sa.DateTime(timezone=True), nullable=True),
    sa.Column('stopped_at', sa.DateTime(timezone=True), nullable=True),
    sa.PrimaryKeyConstraint('id'),
    sa.UniqueConstraint('user_name')
    )
    op.create_index('server_launch', 'server', ['launch'], unique=False)
    op.create_index('server_live', 'server', ['state'], unique=False, postgresql_where=sa.text("state <> 'stopped'"))
    op.create_table('sweep',
    sa.Column('name', sa.Text(), nullable=False),
    sa.Column('last_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('findings', postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False),
    sa.PrimaryKeyConstraint('name')
    )
    op.create_table('launch',
    sa.Column('id', sa.Text(), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('state', sa.Text(), nullable=False),
    sa.Column('state_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('target', sa.Text(), server_default=sa.text("'ready'"), nullable=False),
    sa.Column('seq', sa.Integer(), server_default=sa.text('0'), nullable=False),
    sa.Column('caller', sa.Text(), nullable=False),
    sa.Column('client', sa.Text(), nullable=False),
    sa.Column('origin', sa.Text(), server_default=sa.text("''"), nullable=False),
    sa.Column('launch_host', sa.Text(), server_default=sa.text("''"), nullable=False),
    sa.Column('idempotency', sa.Text(), nullable=True),
    sa.Column('provider', sa.Text(), nullable=False),
    sa.Column('spec', sa.Text(), nullable=False),
    sa.Column('repo', sa.Text(), nullable=False),
    sa.Column('ref', sa.Text(), nullable=False),
    sa.Column('options', postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False),
    sa.Column('build_only', sa.Boolean(), server_default=sa.text('false'), nullable=False),
    sa.Column('rebuild', sa.Boolean(), server_default=sa.text('false'), nullable=False),
    sa.Column('rebuilt', sa.Boolean(), server_default=sa.text('false'), nullable=False),
    sa.Column('resolved_ref', sa.Text(), nullable=True),
    sa.Column('resolved_spec', sa.Text(), nullable=True),
    sa.Column('ref_url', sa.Text(), nullable=True),
    sa.Column('repo_url', sa.Text(), nullable=True),
    sa.Column('image', sa.Text(), nullable=True),
    sa.Column('build', sa.Text(), nullable=True),
    sa.Column('url', sa.Text(), nullable=True),
    sa.Column('reason', postgresql.JSONB(astext_type=sa.Text()), nullable=True),
    sa.Column('stop_reason', sa.Text(), nullable=True),
    sa.Column('ready_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('ended_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('lease_owner', sa.Text(), nullable=True),
    sa.Column('lease_until', sa.DateTime(timezone=True), nullable=True),
    sa.Column('epoch', sa.Integer(), server_default=sa.text('0'), nullable=False),
    sa.Column('attempt', sa.Integer(), server_default=sa.text('1'), nullable=False),
    sa.Column('crashes', sa.Integer(), server_default=sa.text('0'), nullable=False),
    sa.Column('due', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.ForeignKeyConstraint(['build'], ['build.id'], ),
    sa.PrimaryKeyConstraint('id'),
    sa.UniqueConstraint('idempotency')
    )
    op.create_index('launch_client', 'launch', ['client'], unique=False, postgresql_where=sa.text("state IN ('waiting', 'resolving', 'building', 'launching')"))
    op.create_index('launch_created', 'launch', ['created_at', 'id'], unique=False)
    op.create_index('launch_launch', 'launch', ['due'], unique=False, postgresql_where=sa.text("state IN ('launching', 'stopping') OR (state = 'ready' AND target = 'stopped')"))
    op.create_index('launch_ready', 'launch', ['ready_at'], unique=False, postgresql_where=sa.text("state = 'ready'"))
    op.create_index('launch_resolve', 'launch', ['due'], unique=False, postgresql_where=sa.text("state IN ('waiting', 'resolving')"))
    op.create_index('launch_waiters', 'launch', ['build'], unique=False, postgresql_where=sa.text("state = 'building'"))


def downgrade() -> None:
    op.drop_index('launch_waiters', table_name='launch', postgresql_where=sa.text("state = 'building'"))
    op.drop_index('launch_resolve', table_name='launch', postgresql_where=sa.text("state IN ('waiting', 'resolving')"))
    op.drop_index('launch_ready', table_name='launch', postgresql_where=sa.text("state = 'ready'"))
    op.drop_index('launch_launch', table_name='launch', postgresql_where=sa.text("state IN ('launching', 'stopping') OR (state = 'ready' AND target = 'stopped')"))
    op.drop_index('launch_created', table_name='launch')
    op.drop_index('launch_client', table_name='launch', postgresql_where=sa.text("state IN ('waiting', 'resolving', 'building', 'launching')"))
    op.drop_table('launch')
    op.drop_table('sweep')
    op.drop_index('server_live', table_name='server', postgresql_where=sa.text("state <> 'stopped'"))
    op.drop_index('server_launch', table_name='server')
    op.drop_table('server')
    op.drop_table('log_chunk')
    op.drop_table('image')
    op.drop_table('event')
    op.drop_index('build_one_per_image', table_name='build', postgresql_where=sa.text("state IN ('queued', 'fetching', 'building', 'pushing')"))
    op.drop_index('build_one_per_environment', table_name='build', postgresql_where=sa.text("state = 'building' AND makes_environment"))
    op.drop_index('build_image', table_name='build')
    op.drop_index('build_created', table_name='build')
    op.drop_index('build_claim', table_name='build', postgresql_where=sa.text("state IN ('queued', 'fetching', 'building', 'pushing')"))
    op.drop_table('build')
