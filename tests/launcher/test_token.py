"""A hub that does not accept our token: launches wait, whoever runs it is told why, and no attempt is used."""

import asyncio
import contextlib
from pathlib import Path

import pytest
import sqlalchemy as sa
import structlog

from bench.mock_hub import Behaviour
from launcher.main import late
from services.errors import DockyardError
from services.lifecycle import Claims, Lease
from services.observe.breakers import states
from services.settings import Settings
from tests.launcher.test_waiting import place


@pytest.mark.parametrize("status", [401, 403])
async def test_launches_wait_until_the_token_is_accepted(settings: Settings, tmp_path: Path, status: int) -> None:
    with structlog.testing.capture_logs() as told:
        async with place(settings, tmp_path / "hub.sock", Behaviour(status=status)) as found:
            await found.come()
            await found.ask(4)
            await found.until_told("does not accept", 1)
            assert set(await found.states()) == {("launching", 1)}
            assert any("hub.token" in state.reason for state in states() if state.name == "JupyterHub" and not state.ok)
            found.mock.behaviour = Behaviour()
            await found.until({("ready", 1): 4})
    levels = [(line["event"], line["log_level"]) for line in told if line["event"].startswith("hub_")]
    assert levels == [("hub_refuses_token", "error"), ("hub_accepts_token", "info")]


async def test_what_has_waited_too_long_ends_although_the_hub_stays_away(settings: Settings, tmp_path: Path) -> None:
    async with place(settings, tmp_path / "hub.sock", Behaviour(status=403), patience=0.1) as found:
        await found.come()
        while found.hub.throttle.room():
            with contextlib.suppress(DockyardError):
                await found.hub.accepts()
        await found.ask(4)
        claims = Claims(found.db, late(0.1), "late", 60)
        async with asyncio.timeout(60):
            while await found.states() != {("failed", 1): 4}:
                for claimed in await claims.claim(4):
                    await found.launching.give_up(Lease(claimed))
                await asyncio.sleep(0.05)
        row = (await found.db.rows(sa.text("SELECT reason FROM launch LIMIT 1")))[0]
        assert "was given up" in row.reason["message"]
