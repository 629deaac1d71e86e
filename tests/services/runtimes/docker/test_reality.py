"""What the reaper is told of an engine, and what it can do about it: containers, volumes and networks that no row knows."""

import secrets
import time

import pytest

from services.runtimes.docker import make
from tests.services.runtimes.docker import lab


async def test_what_nobody_knows_is_told_with_its_age_and_can_be_removed() -> None:
    if why := lab.reason():
        pytest.skip(why)
    mine = f"tests-{secrets.token_hex(4)}"
    ours, before = f"dockyard.installation={mine}", time.time()
    runtime = make(lab.settings(None, "engine", docker_installation=mine))
    lab.docker("volume", "create", "--label", ours, "--label", "dockyard.build=build-x-1", f"{mine}-work")
    lab.docker("volume", "create", "--label", f"{ours}-2", f"{mine}-of-another")
    lab.docker("network", "create", "--label", ours, f"{mine}-net")
    words = ("create", "--network", f"{mine}-net", "-v", f"{mine}-work:/work", "--label", ours)
    try:
        for name, label in (("build-x-1", "dockyard.build=build-x-1"), ("somebody", "dockyard.server=somebody"), ("else", "a=b")):
            lab.docker(*words, "--name", f"{mine}-{name}", "--label", label, lab.SMALL, "sleep", "60")
        lab.docker("start", f"{mine}-somebody")
        things = await runtime.reality.things()
        assert {(thing.kind, thing.name.removeprefix(f"{mine}-"), thing.owner) for thing in things} == {
            ("build", "build-x-1", "build-x-1"), ("server", "somebody", "somebody"), ("container", "else", ""),
            ("volume", "work", "build-x-1"), ("network", "net", "")}
        assert all(before - 2 < thing.since < time.time() + 2 for thing in things)
        for thing in sorted(things, key=lambda one: one.kind in ("volume", "network")):  # what is in use stays
            await runtime.reality.clear(thing)
            await runtime.reality.clear(thing)
        assert await runtime.reality.things() == []
        size = int(lab.docker("image", "inspect", "-f", "{{.Size}}", lab.SMALL))
        assert await runtime.images.usage() >= 0.99 * size
    finally:
        lab.docker("rm", "-f", *(f"{mine}-{name}" for name in ("build-x-1", "somebody", "else")), check=False)
        lab.docker("volume", "rm", f"{mine}-work", f"{mine}-of-another", check=False)
        lab.docker("network", "rm", f"{mine}-net", check=False)
        await runtime.aclose()
