"""What operators look at: a cursor over the events, counts of outcomes, samples, processes, dependencies. Their indexes come in 0009.

Revision: 0003, after 0002. Of the rows that are there already nothing is written; their events have no transaction and are not
told of again.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = '0003'
down_revision = '0002'
branch_labels = None
depends_on = None
PHASE = "before"


def upgrade() -> None:
    op.add_column('event', sa.Column('xact', sa.BigInteger(), nullable=True))
    op.alter_column('event', 'xact', server_default=sa.text("(pg_current_xact_id()::text)::bigint"))
    op.create_table('tally',
    sa.Column('at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('measure', sa.Text(), nullable=False),
    sa.Column('status', sa.Text(), nullable=False),
    sa.Column('provider', sa.Text(), nullable=False),
    sa.Column('detail', sa.Text(), nullable=False),
    sa.Column('bucket', sa.Integer(), nullable=False),
    sa.Column('number', sa.BigInteger(), server_default=sa.text('0'), nullable=False),
    sa.Column('seconds', sa.Double(), server_default=sa.text('0'), nullable=False),
    sa.PrimaryKeyConstraint('at', 'measure', 'status', 'provider', 'detail', 'bucket')
    )
    op.create_table('sample',
    sa.Column('at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('numbers', postgresql.JSONB(astext_type=sa.Text()), nullable=False),
    sa.PrimaryKeyConstraint('at')
    )
    op.create_table('process',
    sa.Column('owner', sa.Text(), nullable=False),
    sa.Column('name', sa.Text(), nullable=False),
    sa.Column('host', sa.Text(), nullable=False),
    sa.Column('version', sa.Text(), nullable=False),
    sa.Column('started_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('seen_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('facts', postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False),
    sa.PrimaryKeyConstraint('owner')
    )
    op.create_table('dependency',
    sa.Column('name', sa.Text(), nullable=False),
    sa.Column('ok', sa.Boolean(), nullable=False),
    sa.Column('since', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('checked_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('detail', sa.Text(), server_default=sa.text("''"), nullable=False),
    sa.PrimaryKeyConstraint('name')
    )
    op.create_table('outlet',
    sa.Column('name', sa.Text(), nullable=False),
    sa.Column('xact', sa.BigInteger(), nullable=False),
    sa.Column('launch', sa.Text(), server_default=sa.text("''"), nullable=False),
    sa.Column('seq', sa.Integer(), server_default=sa.text('0'), nullable=False),
    sa.Column('lease_owner', sa.Text(), nullable=True),
    sa.Column('lease_until', sa.DateTime(timezone=True), nullable=True),
    sa.Column('sent', sa.BigInteger(), server_default=sa.text('0'), nullable=False),
    sa.Column('dropped', sa.BigInteger(), server_default=sa.text('0'), nullable=False),
    sa.Column('failing_since', sa.DateTime(timezone=True), nullable=True),
    sa.Column('error', sa.Text(), server_default=sa.text("''"), nullable=False),
    sa.PrimaryKeyConstraint('name')
    )


def downgrade() -> None:
    for table in ('outlet', 'dependency', 'process', 'sample', 'tally'):
        op.drop_table(table)
    op.drop_column('event', 'xact')
