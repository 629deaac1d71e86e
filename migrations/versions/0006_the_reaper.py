"""When launches were last watched, when servers will end, whose sweeps run and what all of them have found. Their indexes come in 0009.

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


def downgrade() -> None:
    for name in ('error', 'totals', 'runs', 'seconds', 'lease_until', 'lease_owner'):
        op.drop_column('sweep', name)
    for name in ('warned_at', 'ends_why', 'ends_at'):
        op.drop_column('server', name)
    op.drop_column('launch', 'watched_at')
