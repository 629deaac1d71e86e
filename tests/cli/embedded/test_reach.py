"""The way into closed directories, for the account that root gives parts to; in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = """
import os, sys
from pathlib import Path
from cli.embedded.account import Account
from cli.embedded.reach import open_way
closed, account = Path(sys.argv[1]), Account("nobody", 65534, 65534)
wanted = [closed / "inner/checkout", closed / "python"]
print(open_way(wanted, account), sorted(os.listdir(closed)), os.stat(closed / "private").st_mode & 0o777, flush=True)
pid = os.fork()
if pid == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
    print((closed / "inner/checkout/code").read_text(), (closed / "python").read_text())
    for refused in (lambda: os.listdir(closed), lambda: (closed / "private/key").read_text()):
        try:
            refused()
        except PermissionError:
            print("refused")
    sys.stdout.flush(); os._exit(0)
os.waitpid(pid, 0)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives parts to another account")
def test_what_is_needed_can_be_reached_and_nothing_else(tmp_path: Path) -> None:
    if subprocess.run(["unshare", "--mount", "true"], check=False, capture_output=True).returncode:
        pytest.skip("mount namespaces are not allowed here")
    closed = tmp_path / "closed"
    (closed / "inner/checkout").mkdir(parents=True)
    (closed / "private").mkdir(mode=0o700)
    (closed / "private/key").write_text("secret")
    (closed / "inner/checkout/code").write_text("code")
    (closed / "python").write_text("python")
    (closed / "link").symlink_to("python")
    (closed / "inner").chmod(0o700)
    closed.chmod(0o700)
    done = subprocess.run([sys.executable, "-c", PROGRAM, closed], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "[] ['inner', 'link', 'private', 'python'] 448", "code python", "refused", "refused",
    ]
    assert closed.stat().st_mode & 0o777 == 0o700
    assert (closed / "private/key").read_text() == "secret"
