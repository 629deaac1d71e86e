"""What operators look at: how much has happened, what there was at each moment, which processes live, what answers.

None of it is needed for a launch. `tally` counts outcomes in the database, once each, whichever process dies; `outlet`
says how far each reader of the events has come.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Boolean, Double, Integer, text
from sqlalchemy.orm import Mapped, mapped_column

from services.models.tables import Base

_NOW = text("now()")
_ZERO = text("0")


class Tally(Base):
    """How often something has happened. Totals stand at `-infinity`; beside them the last day, minute by minute."""

    __tablename__ = "tally"

    at: Mapped[datetime] = mapped_column(primary_key=True)
    measure: Mapped[str] = mapped_column(primary_key=True)
    status: Mapped[str] = mapped_column(primary_key=True)
    provider: Mapped[str] = mapped_column(primary_key=True)
    detail: Mapped[str] = mapped_column(primary_key=True)
    bucket: Mapped[int] = mapped_column(Integer, primary_key=True)  # of the duration: see services.lifecycle.tally
    number: Mapped[int] = mapped_column(BigInteger, server_default=_ZERO)
    seconds: Mapped[float] = mapped_column(Double, server_default=_ZERO)


class Sample(Base):
    """How much there was of everything at one moment, for the curves of the ops page."""

    __tablename__ = "sample"

    at: Mapped[datetime] = mapped_column(primary_key=True, server_default=_NOW)
    numbers: Mapped[dict[str, Any]] = mapped_column()


class ProcessRow(Base):
    """A living process, by the name that its leases carry; not seen for half a minute, it is taken for dead."""

    __tablename__ = "process"

    owner: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column()
    host: Mapped[str] = mapped_column()
    version: Mapped[str] = mapped_column()
    started_at: Mapped[datetime] = mapped_column(server_default=_NOW)
    seen_at: Mapped[datetime] = mapped_column(server_default=_NOW)
    facts: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))


class Dependency(Base):
    """Whether something that we stand on answers, and since when it does or does not."""

    __tablename__ = "dependency"

    name: Mapped[str] = mapped_column(primary_key=True)
    ok: Mapped[bool] = mapped_column(Boolean)
    since: Mapped[datetime] = mapped_column(server_default=_NOW)
    checked_at: Mapped[datetime] = mapped_column(server_default=_NOW)
    detail: Mapped[str] = mapped_column(server_default=text("''"))


class Outlet(Base):
    """A reader of the events: everything up to its cursor (transaction, launch, number) has been read."""

    __tablename__ = "outlet"

    name: Mapped[str] = mapped_column(primary_key=True)
    xact: Mapped[int] = mapped_column(BigInteger)
    launch: Mapped[str] = mapped_column(server_default=text("''"))
    seq: Mapped[int] = mapped_column(Integer, server_default=_ZERO)
    lease_owner: Mapped[str | None] = mapped_column()
    lease_until: Mapped[datetime | None] = mapped_column()
    sent: Mapped[int] = mapped_column(BigInteger, server_default=_ZERO)
    dropped: Mapped[int] = mapped_column(BigInteger, server_default=_ZERO)
    failing_since: Mapped[datetime | None] = mapped_column()
    error: Mapped[str] = mapped_column(server_default=text("''"))
