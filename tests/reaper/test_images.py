"""Which images go when room is short, on the fake runtime's store of files."""

import os
import time
from dataclasses import replace
from pathlib import Path

import sqlalchemy as sa

from reaper.deeds import Deeds
from reaper.expiry import expire
from reaper.images import Images
from services.db import Database
from services.lifecycle import room
from services.runtimes.fake import FakeBuilds, FakeImages
from services.settings import ReaperSettings, Settings
from services.states import LaunchState
from tests.services.lifecycle.test_moves import insert, state


class Store:
    """Images of 100 bytes each."""

    def __init__(self, db: Database, settings: Settings, root: Path, budget: int, deeds: Deeds | None = None, **values: float) -> None:
        self.db, self.root = db, root
        self.images = FakeImages(FakeBuilds(root), root)
        home = settings.home.model_copy(update={"disk_budget": budget})
        reaper = ReaperSettings(disk_high=0.8, disk_low=0.5, **values)
        self.sweep = Images(db, self.images, replace(settings, home=home, reaper=reaper), deeds)

    async def add(self, name: str, hours: float) -> None:
        """One that was used last so many hours ago."""
        path = self.root / "images" / name
        path.write_bytes(bytes(100))
        os.utime(path, (time.time() - hours * 3600,) * 2)
        await self.db.rows(sa.text("""
            INSERT INTO image (name, built_at, used_at) VALUES (:name, now() - :h * interval '1 hour', now() - :h * interval '1 hour')
        """), {"name": name, "h": hours})

    def there(self) -> set[str]:
        return {path.name for path in (self.root / "images").iterdir()}


async def test_the_least_used_go_first_and_none_that_is_in_use(db: Database, settings: Settings, tmp_path: Path) -> None:
    store = Store(db, settings, tmp_path, budget=1000)
    for name, hours in (("open", 90), ("served", 80), ("built", 70), ("held", 60), ("older", 50), ("old", 40), ("newer", 30), ("new", 0.1)):
        await store.add(name, hours)
    await insert(db, "l", LaunchState.LAUNCHING)
    await db.rows(sa.text("UPDATE launch SET image = 'open'"))
    await db.rows(sa.text("INSERT INTO server (id, attempt, image, user_name, state) VALUES ('s', 1, 'served', 'u', 'running')"))
    await db.rows(sa.text("INSERT INTO build (id, image, provider, repo_url, commit) VALUES ('b', 'built', 'git', 'u', 'c')"))
    await db.rows(sa.text("UPDATE image SET held_until = now() + interval '1 minute' WHERE name = 'held'"))
    assert await store.sweep.collect() == {"freed": 3, "deleted": 0, "full": 0}  # 800 of 1000 bytes, and 500 afterwards
    assert store.there() == {"open", "served", "built", "held", "new"}
    gone = {row.name for row in await db.rows(sa.text("SELECT name FROM image WHERE gone"))}
    assert gone == {"older", "old", "newer"}
    assert await store.sweep.collect() == {"freed": 0, "deleted": 0, "full": 0}


async def test_no_build_begins_while_the_budget_is_used_up(db: Database, settings: Settings, tmp_path: Path) -> None:
    store = Store(db, settings, tmp_path, budget=200)
    for name in ("a", "b", "c"):
        await store.add(name, 0.1)  # too young to go
    deeds = Deeds(dry=True)
    assert (await Store(db, settings, tmp_path, 200, deeds).sweep.collect())["full"] == 1
    assert await room.shortage(db) is None  # a dry run changes nothing
    assert await store.sweep.collect() == {"freed": 0, "deleted": 0, "full": 1}
    short = await room.shortage(db)
    assert short is not None
    assert "is used up" in short.sentence
    assert short.seconds == 0
    await store.sweep.collect()
    again = await room.shortage(db)
    assert again is not None
    assert again.seconds > 0
    await db.rows(sa.text("UPDATE image SET built_at = now() - interval '2 hours', used_at = now() - interval '2 hours'"))
    for name in ("a", "b", "c"):
        os.utime(tmp_path / "images" / name, (1, 1))
    assert (await store.sweep.collect())["full"] == 0
    assert await room.shortage(db) is None


async def test_images_go_by_age_where_a_setting_says_so(db: Database, settings: Settings, tmp_path: Path) -> None:
    store = Store(db, settings, tmp_path, budget=0, image_days=7)
    await store.add("old", 8 * 24)
    await store.add("new", 24)
    assert (await store.sweep.collect())["deleted"] == 1
    assert store.there() == {"new"}


async def test_an_environment_in_a_registry_goes_with_its_last_image(db: Database, settings: Settings, tmp_path: Path) -> None:
    behind = replace(settings, registry=settings.registry.model_copy(update={"url": "http://registry.test"}))
    store = Store(db, behind, tmp_path, budget=0, image_days=7, registry=True)
    for name, days, key in (("a", 9, "lone"), ("b", 9, "shared"), ("c", 1, "shared"), ("d", 9, "wanted")):
        await store.add(name, days * 24)
        await db.rows(sa.text("UPDATE image SET environment = :key WHERE name = :name"), {"key": key, "name": name})
        (tmp_path / "environments" / key).touch()
    await db.rows(sa.text("""
        INSERT INTO build (id, image, provider, repo_url, commit, environment) VALUES ('b', 'new', 'git', 'u', 'c', 'wanted')
    """))
    assert await store.sweep.collect() == {"freed": 0, "deleted": 3, "full": 0, "environments": 1}
    assert {path.name for path in (tmp_path / "environments").iterdir()} == {"shared", "wanted"}
    assert (await store.sweep.collect())["environments"] == 0


async def test_old_rows_logs_and_addresses_go_by_policy(db: Database) -> None:
    for name, days in (("l40", 40), ("l10", 10), ("l1", 1)):
        await insert(db, name, LaunchState.STOPPED)
        await db.rows(sa.text("""
            UPDATE launch SET ended_at = now() - :days * interval '1 day', client = '192.0.2.1', caller = 'uncounted:address:192.0.2.1'
            WHERE id = :id
        """), {"id": name, "days": days})
        await db.rows(sa.text("""
            INSERT INTO event (launch, seq, kind, state, data)
            VALUES (:id, 1, 'ready', 'ready', '{"binder_client_ip": "192.0.2.1", "x": 1}')
        """), {"id": name})
        await db.rows(sa.text("""
            INSERT INTO build (id, image, state, provider, repo_url, commit, ended_at)
            VALUES (:id, :id, 'built', 'git', 'u', 'c', now() - :days * interval '1 day')
        """), {"id": name, "days": days})
        await db.rows(sa.text("INSERT INTO log_chunk (build, first, last, body) VALUES (:id, 1, 1, '{}')"), {"id": name})
    deeds = Deeds(dry=True)
    policy = ReaperSettings(keep_days=30, keep_log_days=5, keep_address_days=7)
    would = await expire(db, policy, deeds)
    found = await expire(db, policy)
    assert found == {"launches": 1, "logs": 2, "builds": 1, "addresses": 1, "servers": 0, "images": 0}
    assert would == found | {"addresses": 2}  # one of them is the launch that goes altogether
    assert "delete the logs of 2 builds" in deeds.told
    row = await state(db, "l10")
    assert (row.client, row.caller) == ("", "uncounted:address:")
    assert (await state(db, "l1")).client == "192.0.2.1"
    assert [(one.launch, one.data) for one in await db.rows(sa.text("SELECT launch, data FROM event ORDER BY launch"))] == [
        ("l1", {"binder_client_ip": "192.0.2.1", "x": 1}), ("l10", {"x": 1})]
    assert [one.build for one in await db.rows(sa.text("SELECT build FROM log_chunk"))] == ["l1"]
