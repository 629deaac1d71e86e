"""How Alembic reaches the database: through the connection that `services.db.migrate` hands it, never by an address
in a file.
"""

from alembic import context

from services.models import Base


def run() -> None:
    """Run the migrations on the given connection, each in its own transaction."""
    context.configure(
        connection=context.config.attributes["connection"],
        target_metadata=Base.metadata,
        transaction_per_migration=True,
        compare_type=True,
    )
    with context.begin_transaction():
        context.run_migrations()


run()
