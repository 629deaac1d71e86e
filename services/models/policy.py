"""What operators forbid and allow at run time, and what the rates of launches have counted.

`rule` is read whole by every process, which keeps a copy of it (see `services.policy`). `meter` has one row for each address and
network that launches lately, and only where rates are bounded.
"""

from datetime import datetime

from sqlalchemy import Integer, text
from sqlalchemy.orm import Mapped, mapped_column

from services.models.tables import Base

_NOW = text("now()")
_EMPTY = text("''")


class RuleRow(Base):
    """One thing that is forbidden, allowed or bounded; or, as kind `pause`, that nothing is accepted."""

    __tablename__ = "rule"

    id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column()
    pattern: Mapped[str] = mapped_column()
    message: Mapped[str] = mapped_column(server_default=_EMPTY)
    quota: Mapped[int | None] = mapped_column(Integer)
    created_at: Mapped[datetime] = mapped_column(server_default=_NOW)
    expires_at: Mapped[datetime | None] = mapped_column()
    created_by: Mapped[str] = mapped_column(server_default=_EMPTY)


class Meter(Base):
    """Launches of one address or network in the window of so many seconds that began with the first of them."""

    __tablename__ = "meter"

    key: Mapped[str] = mapped_column(primary_key=True)
    seconds: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    began: Mapped[datetime] = mapped_column(server_default=_NOW)
    n: Mapped[int] = mapped_column(Integer)
