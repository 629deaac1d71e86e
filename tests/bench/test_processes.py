"""What a tree of processes takes, while some of them end."""

import os
import signal
import subprocess
from pathlib import Path

from bench.processes import Tree

RESTLESS = "for n in 1 2 3 4; do while :; do /bin/true; done & done; wait"


def test_processes_that_end_meanwhile_hide_no_others(tmp_path: Path) -> None:
    with subprocess.Popen(["sh", "-c", RESTLESS], start_new_session=True) as restless:
        try:
            tree = Tree(restless.pid, tmp_path)
            assert [[one.name for one in tree.usage()] for _ in range(60)] == [["up"]] * 60
        finally:
            os.killpg(restless.pid, signal.SIGKILL)
