"""Schemathesis asks everything that the OpenAPI document promises, and much that it does not: no answer is a server error.

Longer, by hand, with sequences of requests that follow the document's own links:
`DOCKYARD_TEST_SCHEMATHESIS="--phases=examples,coverage,fuzzing,stateful --max-examples=200 --max-time=300" pytest tests/api/test_schema.py`
"""

import asyncio
import importlib.util
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from starlette.responses import JSONResponse

from services.settings import Settings, load
from tests.api.live import ADMIN, Live
from tests.listening import Listening

pytestmark = pytest.mark.skipif(importlib.util.find_spec("schemathesis") is None, reason="Schemathesis is not installed")
SHORT = "--phases=examples,coverage,fuzzing --max-examples=8 --max-time=20 --seed=1"


@pytest.fixture
async def live(settings: Settings) -> AsyncIterator[Live]:
    """A front door with a hub that answers, and without bounds that would be met."""
    async with Listening(JSONResponse({"version": "6.1.1"})) as hub:
        values = load({
            "DOCKYARD_FRONT_PORT": "0", "DOCKYARD_FRONT_HOLD": "0", "DOCKYARD_LIMITS_OPEN_PER_CLIENT": "0",
            "DOCKYARD_LIMITS_OPEN_TOTAL": "0", "DOCKYARD_HUB_URL": hub.at("/hub/api/"), "DOCKYARD_HUB_TOKEN": "t",
        })
        async with Live(replace(settings, front=values.front, limits=values.limits, hub=values.hub)) as found:
            yield found


@pytest.mark.slow
async def test_nothing_that_is_asked_is_a_server_error(live: Live, tmp_path: Path) -> None:
    building, build = await live.building()
    await live.fail(building, build, {"code": "x", "message": "x", "hint": ""}, await live.log(build, 1, ["one\n"]))
    options = os.environ.get("DOCKYARD_TEST_SCHEMATHESIS", SHORT).split()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "schemathesis.cli", "run", live.at("/api/v1/openapi.json"), "--url", live.at("/"),
        "--checks=not_a_server_error", "--warnings=off", "--suppress-health-check=too_slow", "--request-timeout=120", "--no-color",
        "-H", f"Authorization: Bearer {ADMIN}",
        *options, cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        env={"PATH": os.environ["PATH"], "NO_PROXY": "127.0.0.1", "HOME": str(tmp_path)},
    )
    output, _ = await process.communicate()
    text = output.decode()
    assert process.returncode == 0, text[-6000:]
    assert "API Operations" in text
