"""What operators forbid and allow while everything runs, what rates have counted, and by what launches are bounded. Their indexes come in 0009.

Revision: 0007, after 0006.
"""

import sqlalchemy as sa
from alembic import op

revision = '0007'
down_revision = '0006'
branch_labels = None
depends_on = None
PHASE = "before"


def upgrade() -> None:
    op.create_table(
        'rule',
        sa.Column('id', sa.Text(), nullable=False),
        sa.Column('kind', sa.Text(), nullable=False),
        sa.Column('pattern', sa.Text(), nullable=False),
        sa.Column('message', sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column('quota', sa.Integer(), nullable=True),
        sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
        sa.Column('expires_at', sa.DateTime(timezone=True), nullable=True),
        sa.Column('created_by', sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.PrimaryKeyConstraint('id'),
    )
    op.create_table(
        'meter',
        sa.Column('key', sa.Text(), nullable=False),
        sa.Column('seconds', sa.Integer(), nullable=False),
        sa.Column('began', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
        sa.Column('n', sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint('key', 'seconds'),
    )
    op.add_column('launch', sa.Column('network', sa.Text(), nullable=True))
    op.add_column('launch', sa.Column('repository', sa.Text(), nullable=True))
    op.add_column('launch', sa.Column('request', sa.Text(), nullable=True))


def downgrade() -> None:
    for name in ('request', 'repository', 'network'):
        op.drop_column('launch', name)
    op.drop_table('meter')
    op.drop_table('rule')
