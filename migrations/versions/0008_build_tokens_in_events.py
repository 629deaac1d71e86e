"""Whether a launch was asked for with a build token, which BinderHub's launch event tells.

Revision: 0008, after 0007.
"""

import sqlalchemy as sa
from alembic import op

revision = '0008'
down_revision = '0007'
branch_labels = None
depends_on = None
PHASE = "before"


def upgrade() -> None:
    op.add_column('launch', sa.Column('build_token', sa.Boolean(), server_default=sa.text('false'), nullable=False))


def downgrade() -> None:
    op.drop_column('launch', 'build_token')
