"""A canary on a private address is never connected to, whichever way a link leads there."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.services.runtimes.local import canary

ROOT = Path(__file__).parents[4]
BUILDS_ALL_THE_SAME = {".gitmodules alone", "large files", "project", "postBuild"}  # without what they asked for


def _namespace() -> str:
    """Why there can be no network namespace with a foreign address; empty if there can."""
    if os.geteuid() != 0 or not (shutil.which("unshare") and shutil.which("ip")):
        return "needs root, unshare and ip"
    script = "ip link set lo up && ip route add local 10.203.0.0/24 dev lo && mount --bind /dev/null /etc/hosts"
    done = subprocess.run(["unshare", "--net", "--mount", "--", "sh", "-c", script], capture_output=True, text=True, check=False)
    return done.stderr.strip().splitlines()[-1] if done.returncode else ""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_canary_sees_nothing(sandboxes: None, tmp_path: Path) -> None:
    if why := _namespace():
        pytest.skip(f"no network namespace: {why}")
    (tmp_path / "hosts").write_text(canary.HOSTS)
    script = (
        "ip link set lo up && ip route add local 10.203.0.0/24 dev lo && mount --bind \"$0\" /etc/hosts && "
        "exec \"$1\" -m tests.services.runtimes.local.canary"
    )
    done = subprocess.run(
        ["unshare", "--net", "--mount", "--", "sh", "-c", script, str(tmp_path / "hosts"), sys.executable],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=580)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert (found["closed"], found["open"] >= 3) == (0, True), found
    assert len(found["ways"]) == 47
    assert {name for name, said in found["ways"].items() if said == "built"} <= BUILDS_ALL_THE_SAME
