"""Postgres: the engine, the micro-batcher and the migrations."""

from services.db.batch import Batch
from services.db.engine import Database, DatabaseGone

__all__ = ["Batch", "Database", "DatabaseGone"]
