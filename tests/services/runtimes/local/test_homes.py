"""A server's home: starts as the image's content, belongs to the server, and leaves the image as it was."""

import asyncio
import os
from dataclasses import replace

import pytest

from services.runtimes.local.detached import Detached, Ended, Running, start, status
from services.runtimes.local.homes import BIG, prepare_home, server_limits, server_sandbox
from services.runtimes.local.images import ImageRecord
from services.runtimes.local.probe import probe
from tests.gitrepo import Executable, Repo
from tests.services.runtimes.local.ground import Ground

SCRIPT = "cat a dir/b; echo changed > a; echo more >> dir/b; rm gone; mkdir new; echo x > new/file; git status --short; id -u; pwd"


async def run(home: Ground, record: ImageRecord, name: str, *command: str) -> tuple[int | None, str]:
    """Run a command as a server of this image would run."""
    workshop = home.workshop()
    directory = workshop.paths.servers / name
    if not directory.exists():
        directory.mkdir(mode=0o711)
    uid = workshop.paths.take_uid(name)
    prepared = await asyncio.to_thread(prepare_home, record, directory, uid)
    sockets = workshop.paths.directory(directory / "in", uid, 0o700)
    sandbox = server_sandbox(workshop.surroundings, record, prepared, command, sockets=sockets, env={"TOKEN": "x"}, processes=50)
    place = directory / "run"
    await asyncio.to_thread(start, Detached(place, sandbox, server_limits(home.settings.local), directory / "log", uid=uid))
    while isinstance(status(place), Running):
        await asyncio.sleep(0.02)
    found = status(place)
    assert isinstance(found, Ended)
    return found.code, (directory / "log").read_text()


@pytest.mark.parametrize("way", ["copy", "overlay"])
async def test_a_home_is_the_servers_own(way: str, home: Ground, repo: Repo, url: str) -> None:
    if way == "overlay" and (os.geteuid() == 0 or not probe().overlays):
        pytest.skip("homes are copies here: started as root, or the kernel refuses overlays")
    files = {"a": "1\n", "dir/b": "2\n", "gone": "", "start": Executable("#!/bin/sh\nexport STARTED=yes\nexec \"$@\"\n")}
    built = await home.build(home.job(url, repo.commit(files)))
    assert built.exit.ok, built.text
    record = home.workshop().images.open(built.job.image)
    used = replace(record, content_bytes=BIG + 1 if way == "overlay" else 1)
    code, log = await run(home, used, f"home-{way}-1", "/bin/sh", "-c", f"echo $STARTED; {SCRIPT}")
    assert (code, log) == (0, "yes\n1\n2\n M a\n M dir/b\n D gone\n?? new/\n1000\n/home/jovyan\n")
    assert (record.content / "a").read_text() == "1\n"
    assert (record.content / "gone").exists()
    code, log = await run(home, used, f"home-{way}-2", "/bin/sh", "-c", SCRIPT)
    assert log.startswith("1\n2\n"), "the second server sees what the first has changed"


async def test_an_image_that_a_server_uses_keeps_its_files(home: Ground, repo: Repo, url: str) -> None:
    built = await home.build(home.job(url, repo.commit({"a": "1\n"}), image="used:1"))
    record = home.workshop().images.open(built.job.image)
    await run(home, record, "user-of-it", "/bin/true")
    await home.workshop().images.remove("used:1")
    assert record.content.is_dir(), "an overlay may lie on it"
    assert record.environment.venv.is_dir()
