"""How long the builds of one repository take is looked up by its address: an index, which comes in 0009.

Revision: 0005, after 0004.
"""

revision = '0005'
down_revision = '0004'
branch_labels = None
depends_on = None
PHASE = "before"


def upgrade() -> None:
    """Nothing: an index is made while others write, which cannot be part of a transaction, and so stands in a migration of its own."""


def downgrade() -> None:
    """Nothing."""
