"""How long the builds of one repository take is looked up by its address.

Revision: 0005, after 0004.
"""

from alembic import op

revision = '0005'
down_revision = '0004'
branch_labels = None
depends_on = None
PHASE = "before"


def upgrade() -> None:
    op.create_index('build_repository', 'build', ['repo_url', 'created_at'], unique=False)


def downgrade() -> None:
    op.drop_index('build_repository', table_name='build')
