"""One hub with its proxy and real Jupyter servers for all tests of this folder."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cli.embedded.node import system_node
from services.runtimes.local.probe import probe
from tests.deploy.hub.image import NoEnvironment, make_images, scratch
from tests.deploy.hub.stack import Stack


@pytest.fixture(scope="session")
async def stack() -> AsyncIterator[Stack]:
    if system_node(None) is None:
        pytest.skip("Node.js 20 with npm is not installed")
    found = await asyncio.to_thread(probe)
    if not found.sandbox:
        pytest.skip(found.why)
    with tempfile.TemporaryDirectory(prefix="dockyard-") as name:
        stack = Stack(scratch(Path(name)) / "home")
        try:
            await asyncio.to_thread(make_images, stack.settings)
        except NoEnvironment as error:
            pytest.skip(f"no Jupyter environment: {error}")
        try:
            await stack.start()
            yield stack
        finally:
            await stack.stop()
