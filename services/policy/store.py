"""The rules of the table: read, made, removed; and the call that lets every process read them again at once."""

import secrets
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
import structlog

from services.db import Database
from services.policy.rules import PAUSE, NewRule, Rule, RuleKind, checked
from services.queue import Redis

log = structlog.get_logger()
CHANNEL = "rules"
_COLUMNS = """id, kind, pattern, message, quota, created_at, expires_at, created_by,
    extract(epoch FROM expires_at - now())::float8 AS left"""
_ALL = sa.text(f"""
    SELECT {_COLUMNS} FROM rule WHERE (expires_at IS NULL OR expires_at > now()) ORDER BY created_at DESC, id
""")  # noqa: S608 - constants
_ADD = sa.text(f"""
    INSERT INTO rule (id, kind, pattern, message, quota, expires_at, created_by)
    VALUES (:id, :kind, :pattern, :message, :quota, now() + :seconds * interval '1 second', :by)
    ON CONFLICT (id) DO UPDATE SET pattern = excluded.pattern, message = excluded.message, quota = excluded.quota, created_at = now(),
      expires_at = excluded.expires_at, created_by = excluded.created_by
    RETURNING {_COLUMNS}
""").bindparams(sa.bindparam("seconds", type_=sa.Double), sa.bindparam("quota", type_=sa.Integer))  # noqa: S608
_REMOVE = sa.text("DELETE FROM rule WHERE id = :id RETURNING id")
_METERS = sa.text("DELETE FROM meter WHERE began + seconds * interval '1 second' < now()")
_OVER = sa.text("DELETE FROM rule WHERE expires_at < now() - interval '1 day'")


def _rule(row: Mapping[str, Any]) -> Rule:
    return Rule(**{**row, "kind": RuleKind(row["kind"])})


async def rules(db: Database) -> list[Rule]:
    """All that hold, newest first."""
    return [_rule(row._asdict()) for row in await db.rows(_ALL)]


async def add_rule(db: Database, redis: Redis, new: NewRule, by: str) -> Rule:
    """Make a rule; all processes follow it within a second. `by` says who, for the list. Raises `BadRequest`."""
    new = checked(new)
    name = PAUSE if new.kind is RuleKind.PAUSE else secrets.token_hex(8)
    (row,) = await db.rows(_ADD, {
        "id": name, "kind": new.kind, "pattern": new.pattern, "message": new.message, "quota": new.quota, "seconds": new.seconds, "by": by,
    })
    await db.rows(_OVER)
    log.info("rule_added", rule=name, kind=new.kind, pattern=new.pattern, by=by)
    await tell(redis)
    return _rule(row._asdict())


async def remove_rule(db: Database, redis: Redis, rule: str, by: str = "") -> bool:
    """Remove a rule; False where there is none."""
    found = bool(await db.rows(_REMOVE, {"id": rule}))
    if found:
        log.info("rule_removed", rule=rule, by=by)
        await tell(redis)
    return found


async def pause(db: Database, redis: Redis, message: str, by: str, seconds: float | None = None) -> Rule:
    """Accept no launches from now on, for some seconds or until `resume`; what runs and what waits goes on."""
    return await add_rule(db, redis, NewRule(RuleKind.PAUSE, "*", message, None, seconds), by)


async def resume(db: Database, redis: Redis, by: str = "") -> bool:
    """Accept launches again; False where they were."""
    return await remove_rule(db, redis, PAUSE, by)


async def clear(db: Database) -> None:
    """Forget the meters whose window is over: they hold addresses."""
    await db.rows(_METERS)


async def tell(redis: Redis) -> None:
    """Wake the copies. If nobody can be told, they look by themselves (see `Policy`)."""
    await redis.pipeline(("PUBLISH", redis.key(CHANNEL), "changed"))
