"""`python -m tests.services.runtimes.local.owner HOME`: owners of attempts that stop or die in the middle of a step.

A line `stop N JOB` or `kill N JOB` on standard input begins the attempt anew in a process of its own, which is stopped (SIGSTOP)
or killed (SIGKILL) by its Nth change of a file or start of a program; one that gets farther ends by itself. What became of it
is answered with a line: `stopped`, `killed`, or how the attempt has ended. `go on` lets one that was stopped go on.
"""

import json
import os
import signal
import sys
from pathlib import Path

import structlog

from services.runtimes.base import BuildJob, Exit
from services.runtimes.local.attempt import Attempt
from services.runtimes.local.paths import Paths
from services.runtimes.local.workshop import Workshop
from services.settings import BuildSettings, HomeSettings, LocalSettings

CHANGES = frozenset({"os.rename", "os.mkdir", "os.link", "os.symlink", "os.remove", "os.rmdir", "os.chmod", "subprocess.Popen"})


class Strict(Attempt):
    """One that takes trouble with files for final at once."""

    trouble = 0.0


def workshop(home: Path) -> Workshop:
    """One on a home of this test."""
    local = LocalSettings(jupyter=("tiny",))
    return Workshop(Paths.of(local, HomeSettings(path=str(home))).make(), local, BuildSettings())


def end(attempt: Attempt) -> Exit:
    """Look until it has ended."""
    while not isinstance(found := attempt.look(), Exit):
        pass
    return found


def own(attempt: Attempt, signal_: signal.Signals, change: int) -> None:
    """Bring the attempt to its end, and send ourselves the signal at this change."""
    left = change

    def hook(event: str, _: object) -> None:
        nonlocal left
        if event in CHANGES:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal_)

    sys.addaudithook(hook)
    found = end(attempt)
    print("ok" if found.ok else found.reason, flush=True)


def main(home: Path) -> None:
    """Answer lines."""
    shop, pid = workshop(home), 0
    shop.interpreter(shop.pythons[0].version)
    for line in sys.stdin:
        if line == "go on\n":
            os.kill(pid, signal.SIGCONT)
        else:
            word, change, job = line.split(maxsplit=2)
            pid = os.fork()
            if not pid:
                own(Strict(shop, BuildJob(**json.loads(job))), signal.SIGSTOP if word == "stop" else signal.SIGKILL, int(change))
                os._exit(0)
        _, status = os.waitpid(pid, os.WUNTRACED)
        if os.WIFSTOPPED(status):
            print("stopped", flush=True)
        elif os.WIFSIGNALED(status):
            print("killed", flush=True)
        elif status:
            print("failed", flush=True)


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))  # standard output is for the answers
    main(Path(sys.argv[1]))
