"""Launches, builds, servers, and what is told about them.

Every row that somebody works on carries the same six columns (`Owned`): the lease says who works on it until when, by
the database's clock; the epoch rises at every take-over and is part of every write's condition; the attempt rises
only at a deliberate retry; crashes counts owners that vanished while others lived on. Partial indexes keep the claims cheap however many
rows have ended. """

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Boolean, DateTime, Double, ForeignKey, Index, Integer, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """All tables."""

    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy reads it from the class
        str: Text,
        datetime: DateTime(timezone=True),
        dict[str, Any]: JSONB,
    }


_NOW = text("now()")
_ZERO = text("0")
_OPEN = "state IN ('waiting', 'resolving', 'building', 'launching')"
_HELD = "state IN ('ready', 'stopping')"
_LIVE = "state IN ('waiting', 'resolving', 'building', 'launching', 'ready', 'stopping')"


class Owned:
    """What makes a row something that a process can own for a while."""

    lease_owner: Mapped[str | None] = mapped_column()
    lease_until: Mapped[datetime | None] = mapped_column()
    epoch: Mapped[int] = mapped_column(Integer, server_default=_ZERO)
    attempt: Mapped[int] = mapped_column(Integer, server_default=text("1"))
    crashes: Mapped[int] = mapped_column(Integer, server_default=_ZERO)
    due: Mapped[datetime] = mapped_column(server_default=_NOW)


class Launch(Owned, Base):
    """One wish for a server (or, build_only, for an image)."""

    __tablename__ = "launch"

    id: Mapped[str] = mapped_column(primary_key=True)
    created_at: Mapped[datetime] = mapped_column(server_default=_NOW)
    state: Mapped[str] = mapped_column()
    state_at: Mapped[datetime] = mapped_column(server_default=_NOW)
    target: Mapped[str] = mapped_column(server_default=text("'ready'"))
    seq: Mapped[int] = mapped_column(Integer, server_default=_ZERO)
    # Who asked: the caller scopes idempotency keys, the client is the network address that limits count.
    caller: Mapped[str] = mapped_column()
    client: Mapped[str] = mapped_column()
    origin: Mapped[str] = mapped_column(server_default=text("''"))
    launch_host: Mapped[str] = mapped_column(server_default=text("''"))
    build_token: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))  # it was shown with the request
    idempotency: Mapped[str | None] = mapped_column(unique=True)
    request: Mapped[str | None] = mapped_column()  # hash of what was asked under that key
    network: Mapped[str | None] = mapped_column()  # of the client, as limits count: 203.0.113.0/24
    # What was asked.
    provider: Mapped[str] = mapped_column()
    spec: Mapped[str] = mapped_column()
    repo: Mapped[str] = mapped_column()
    ref: Mapped[str] = mapped_column()
    repository: Mapped[str | None] = mapped_column()  # as limits and rules name it: github.com/org/name
    options: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    subdir: Mapped[str | None] = mapped_column()
    environment_link: Mapped[str | None] = mapped_column()  # provider/spec of the environment's repository, where it is another
    build_only: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    rebuild: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    rebuilt: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))  # its image had vanished once
    # What it was resolved to.
    resolved_ref: Mapped[str | None] = mapped_column()
    resolved_spec: Mapped[str | None] = mapped_column()
    ref_url: Mapped[str | None] = mapped_column()
    repo_url: Mapped[str | None] = mapped_column()
    environment_source: Mapped[dict[str, Any] | None] = mapped_column()  # provider, repo_url, commit, ref, spec
    image: Mapped[str | None] = mapped_column()
    build: Mapped[str | None] = mapped_column(ForeignKey("build.id"))
    # What became of it.
    url: Mapped[str | None] = mapped_column()
    reason: Mapped[dict[str, Any] | None] = mapped_column()
    stop_reason: Mapped[str | None] = mapped_column()
    ready_at: Mapped[datetime | None] = mapped_column()
    ended_at: Mapped[datetime | None] = mapped_column()
    watched_at: Mapped[datetime | None] = mapped_column()  # somebody has watched it or asked for it, a minute more or less

    __table_args__ = (
        Index("launch_resolve", "due", postgresql_where=text("state IN ('waiting', 'resolving')")),
        Index(
            "launch_launch", "due",
            postgresql_where=text("state IN ('launching', 'stopping') OR (state = 'ready' AND target = 'stopped')"),
        ),
        Index("launch_open_network", "network", "client", postgresql_where=text(_OPEN)),
        Index("launch_held_network", "network", "client", postgresql_where=text(_HELD)),
        Index("launch_waiters", "build", postgresql_where=text("state = 'building'")),
        Index("launch_ready", "ready_at", postgresql_where=text("state = 'ready'")),
        Index("launch_live_repository", "repository", postgresql_where=text(_LIVE)),
        Index("launch_created", "created_at", "id"),
        Index("launch_failed", "ended_at", postgresql_where=text("state = 'failed'")),
        Index("launch_ended", "ended_at", postgresql_where=text("ended_at IS NOT NULL")),
        Index("launch_addresses", "ended_at", postgresql_where=text("ended_at IS NOT NULL AND client <> ''")),
    )


class Build(Owned, Base):
    """The making of one image, once, for everybody who waits for it."""

    __tablename__ = "build"

    id: Mapped[str] = mapped_column(primary_key=True)
    created_at: Mapped[datetime] = mapped_column(server_default=_NOW)
    state: Mapped[str] = mapped_column(server_default=text("'queued'"))
    target: Mapped[str] = mapped_column(server_default=text("'built'"))
    cancel_at: Mapped[datetime | None] = mapped_column()
    image: Mapped[str] = mapped_column()
    client: Mapped[str | None] = mapped_column()  # of the launch that made it: whose turn it is
    generation: Mapped[int] = mapped_column(Integer, server_default=text("1"))
    no_cache: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    provider: Mapped[str] = mapped_column()
    repo_url: Mapped[str] = mapped_column()
    commit: Mapped[str] = mapped_column()
    ref: Mapped[str] = mapped_column(server_default=text("''"))
    options: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    subdir: Mapped[str | None] = mapped_column()
    environment_source: Mapped[dict[str, Any] | None] = mapped_column()
    environment: Mapped[str | None] = mapped_column()
    makes_environment: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    facts: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    marks: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    reason: Mapped[dict[str, Any] | None] = mapped_column()
    lines: Mapped[int] = mapped_column(Integer, server_default=_ZERO)
    bytes: Mapped[int] = mapped_column(BigInteger, server_default=_ZERO)
    source_line: Mapped[int] = mapped_column(Integer, server_default=_ZERO)
    started_at: Mapped[datetime | None] = mapped_column()
    ended_at: Mapped[datetime | None] = mapped_column()

    __table_args__ = (
        Index("build_claim", "due", postgresql_where=text("state IN ('queued', 'fetching', 'building', 'pushing')")),
        # One open build per image, and one that makes an environment.
        Index(
            "build_one_per_image", "image", unique=True,
            postgresql_where=text("state IN ('queued', 'fetching', 'building', 'pushing')"),
        ),
        Index(
            "build_one_per_environment", "environment", unique=True,
            postgresql_where=text("state = 'building' AND makes_environment"),
        ),
        Index("build_image", "image"),
        Index("build_created", "created_at", "id"),
        Index("build_repository", "repo_url", "created_at"),
        Index("build_ended", "ended_at", postgresql_where=text("ended_at IS NOT NULL")),
    )


class Image(Base):
    """What is known of an image without asking the store."""

    __tablename__ = "image"

    name: Mapped[str] = mapped_column(primary_key=True)
    build: Mapped[str | None] = mapped_column()
    environment: Mapped[str | None] = mapped_column()
    built_at: Mapped[datetime] = mapped_column(server_default=_NOW)
    used_at: Mapped[datetime] = mapped_column(server_default=_NOW)
    gone: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    held_until: Mapped[datetime | None] = mapped_column()  # until then one launch at a time tries it

    __table_args__ = (Index("image_held", "name", postgresql_where=text("held_until IS NOT NULL")),)


class Event(Base):
    """One state event of a launch; `seq` counts from 1 under the launch row's lock."""

    __tablename__ = "event"

    launch: Mapped[str] = mapped_column(primary_key=True)
    seq: Mapped[int] = mapped_column(Integer, primary_key=True)
    at: Mapped[datetime] = mapped_column(server_default=_NOW)
    kind: Mapped[str] = mapped_column()
    state: Mapped[str] = mapped_column()
    data: Mapped[dict[str, Any]] = mapped_column()
    # The transaction that wrote it: whoever reads all events goes by this, since numbers of a sequence are not seen in order.
    xact: Mapped[int | None] = mapped_column(BigInteger, server_default=text("(pg_current_xact_id()::text)::bigint"))

    __table_args__ = (
        Index("event_news", "xact", "launch", "seq", postgresql_where=text("xact IS NOT NULL AND kind NOT IN ('progress', 'notice')")),
    )


class LogChunk(Base):
    """Consecutive lines of a build's log: one JSON object a line, ASCII, as it goes over the wire."""

    __tablename__ = "log_chunk"

    build: Mapped[str] = mapped_column(primary_key=True)
    first: Mapped[int] = mapped_column(Integer, primary_key=True)
    last: Mapped[int] = mapped_column(Integer)
    at: Mapped[datetime] = mapped_column(server_default=_NOW)
    body: Mapped[str] = mapped_column()


class Server(Base):
    """What runs: one attempt of a launch at the hub."""

    __tablename__ = "server"

    id: Mapped[str] = mapped_column(primary_key=True)
    launch: Mapped[str | None] = mapped_column()
    attempt: Mapped[int] = mapped_column(Integer)
    image: Mapped[str] = mapped_column()
    user_name: Mapped[str] = mapped_column(unique=True)
    state: Mapped[str] = mapped_column()
    started_at: Mapped[datetime] = mapped_column(server_default=_NOW)
    last_activity: Mapped[datetime | None] = mapped_column()
    ends_at: Mapped[datetime | None] = mapped_column()  # when the reaper will stop it unless somebody uses it
    ends_why: Mapped[str | None] = mapped_column()
    warned_at: Mapped[datetime | None] = mapped_column()  # its launch has been told of that end
    stopped_at: Mapped[datetime | None] = mapped_column()

    __table_args__ = (
        Index("server_live", "state", postgresql_where=text("state <> 'stopped'")),
        Index("server_launch", "launch"),
    )


class Sweep(Base):
    """When each sweep last ran and what it found, and all runs of it together; its lease lets only one reaper run it."""

    __tablename__ = "sweep"

    name: Mapped[str] = mapped_column(primary_key=True)
    last_at: Mapped[datetime | None] = mapped_column()
    findings: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    lease_owner: Mapped[str | None] = mapped_column()
    lease_until: Mapped[datetime | None] = mapped_column()
    seconds: Mapped[float] = mapped_column(Double, server_default=_ZERO)  # that the last run took
    runs: Mapped[int] = mapped_column(BigInteger, server_default=_ZERO)
    totals: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    error: Mapped[str] = mapped_column(server_default=text("''"))  # why the last run was not finished; empty where it was
