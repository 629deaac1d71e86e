"""What `doctor` says of an engine: whether the disk of a server can be bound, and that none answers."""

import subprocess
import sys
from pathlib import Path

import pytest

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
        [sys.executable, "-P", "-m", "cli", "doctor"], capture_output=True, text=True, check=False, timeout=60,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PYTHONPATH": str(ROOT), "DOCKER_HOST": f"unix://{tmp_path}/nobody.sock"})
    assert f"--  no Docker engine for --runtime docker at unix://{tmp_path}/nobody.sock" in done.stdout
