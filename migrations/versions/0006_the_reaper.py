"""When launches were last watched, when servers will end, whose sweeps run and what all of them have found.

Revision: 0006, after 0005.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = '0006'
down_revision = '0005'
branch_labels = None
depends_on = None
PHASE = "before"


def upgrade() -> None:
    op.add_column('launch', sa.Column('watched_at', sa.DateTime(timezone=True), nullable=True))
    op.add_column('server', sa.Column('ends_at', sa.DateTime(timezone=True), nullable=True))
    op.add_column('server', sa.Column('ends_why', sa.Text(), nullable=True))
    op.add_column('server', sa.Column('warned_at', sa.DateTime(timezone=True), nullable=True))
    op.add_column('sweep', sa.Column('lease_owner', sa.Text(), nullable=True))
    op.add_column('sweep', sa.Column('lease_until', sa.DateTime(timezone=True), nullable=True))
    op.add_column('sweep', sa.Column('seconds', sa.Double(), server_default=sa.text('0'), nullable=False))
    op.add_column('sweep', sa.Column('runs', sa.BigInteger(), server_default=sa.text('0'), nullable=False))
    op.add_column('sweep', sa.Column('totals', postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False))
    op.add_column('sweep', sa.Column('error', sa.Text(), server_default=sa.text("''"), nullable=False))
    op.create_index('launch_ended', 'launch', ['ended_at'], unique=False, postgresql_where=sa.text('ended_at IS NOT NULL'))
    op.create_index(
        'launch_addresses', 'launch', ['ended_at'], unique=False,
        postgresql_where=sa.text("ended_at IS NOT NULL AND client <> ''"))
    op.create_index('build_ended', 'build', ['ended_at'], unique=False, postgresql_where=sa.text('ended_at IS NOT NULL'))


def downgrade() -> None:
    op.drop_index('build_ended', table_name='build', postgresql_where=sa.text('ended_at IS NOT NULL'))
    op.drop_index('launch_addresses', table_name='launch', postgresql_where=sa.text("ended_at IS NOT NULL AND client <> ''"))
    op.drop_index('launch_ended', table_name='launch', postgresql_where=sa.text('ended_at IS NOT NULL'))
    for name in ('error', 'totals', 'runs', 'seconds', 'lease_until', 'lease_owner'):
        op.drop_column('sweep', name)
    for name in ('warned_at', 'ends_why', 'ends_at'):
        op.drop_column('server', name)
    op.drop_column('launch', 'watched_at')
