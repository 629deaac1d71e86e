"""A subdirectory of a repository, and an environment repository apart from the content.

Revision: 0002, after 0001.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

PHASE = "before"


def upgrade() -> None:
    for table in ("launch", "build"):
        op.add_column(table, sa.Column("subdir", sa.Text(), nullable=True))
        op.add_column(table, sa.Column("environment_source", postgresql.JSONB(astext_type=sa.Text()), nullable=True))
    op.add_column("launch", sa.Column("environment_link", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("launch", "environment_link")
    for table in ("launch", "build"):
        op.drop_column(table, "environment_source")
        op.drop_column(table, "subdir")
