"""Images whose servers do not start are tried by one launch at a time; a build knows whose it is.

Revision: 0004, after 0003. Old code neither reads nor writes the new columns.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

PHASE = "before"


def upgrade() -> None:
    op.add_column("image", sa.Column("held_until", sa.DateTime(timezone=True), nullable=True))
    op.create_index("image_held", "image", ["name"], postgresql_where=sa.text("held_until IS NOT NULL"))
    op.add_column("build", sa.Column("client", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("build", "client")
    op.drop_index("image_held", table_name="image", postgresql_where=sa.text("held_until IS NOT NULL"))
    op.drop_column("image", "held_until")
