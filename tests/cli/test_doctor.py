"""What `doctor` says of an engine, whether the disk of a server can be bound, and of a hub."""

import asyncio
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest

from bench.mock_hub import Behaviour, serve
from bench.mock_hub import Hub as MockHub
from cli.commands.doctor import quota

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(("info", "good"), [
    ({"Driver": "btrfs"}, True),
    ({"Driver": "zfs", "DriverStatus": [["Zpool", "tank"]]}, True),
    ({"Driver": "overlay2", "DriverStatus": [["Backing Filesystem", "extfs"]], "DockerRootDir": "/var/lib/docker"}, False),
    ({"Driver": "overlay2", "DriverStatus": [["Backing Filesystem", "xfs"]], "DockerRootDir": "/proc"}, False),  # without pquota
    ({}, False),
])
def test_the_disk_of_servers(info: dict[str, object], good: bool) -> None:
    found = quota(info)
    assert found.good is good
    assert "docker.server_bytes" in found.text


def test_an_engine_that_does_not_answer_is_told_and_fails_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "cli", "doctor"], capture_output=True, text=True, check=False, timeout=300,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PYTHONPATH": str(ROOT), "DOCKER_HOST": f"unix://{tmp_path}/nobody.sock"})
    assert f"--  no Docker engine for --runtime docker at unix://{tmp_path}/nobody.sock" in done.stdout


@pytest.mark.parametrize(("status", "told"), [
    (0, "ok  JupyterHub at {} accepts the token"), (403, "NO  Setting hub.token: JupyterHub refuses it"),
])
async def test_a_hub_of_ones_own_is_asked_whether_it_knows_us(tmp_path: Path, status: int, told: str) -> None:
    url = f"http+unix://{quote(str(tmp_path / 'hub.sock'), safe='')}/hub/api/"
    async with await serve(MockHub(Behaviour(status=status)), path=str(tmp_path / "hub.sock")):
        doctor = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "cli", "doctor", stdout=asyncio.subprocess.PIPE,
            env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PYTHONPATH": str(ROOT), "DOCKYARD_HUB_URL": url,
                 "DOCKYARD_HUB_PUBLIC_URL": "http://hub.test/", "DOCKYARD_HUB_TOKEN": "t", "DOCKER_HOST": f"unix://{tmp_path}/nobody.sock"})
        said, _ = await doctor.communicate()
    assert told.format(url) in said.decode()
