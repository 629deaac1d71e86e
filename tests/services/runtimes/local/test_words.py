"""How runs end, in words."""

import pytest

from services.runtimes.local.detached import Ended, Limits
from services.runtimes.local.words import ended, size

LIMITS = Limits(memory=4 << 30, processes=512, file_bytes=8 << 30, seconds=3600, idle=900, log_bytes=1 << 20, disk_bytes=16 << 30)


@pytest.mark.parametrize(("end", "sentence", "retryable"), [
    (Ended(3, ""), "postBuild ended with status 3.", False),
    (Ended(137, ""), "postBuild was ended by signal SIGKILL.", False),
    (Ended(153, ""), "postBuild wrote a file of more than 8 GiB, which it may not.", False),
    (Ended(1, "", 4), "postBuild ended with status 1. It may have 512 processes and threads, and was refused more.", False),
    (Ended(-9, "deadline"), "postBuild took longer than 3600 seconds and was stopped.", False),
    (Ended(-9, "idle"), "postBuild said nothing for 900 seconds and was stopped.", False),
    (Ended(137, "memory"), "postBuild used more memory than it may (4 GiB) and was stopped.", False),
    (Ended(-9, "flood"), "postBuild wrote more than 16 MiB of log and was stopped.", False),
    (Ended(-9, "disk"), "postBuild took more disk than it may (16 GiB) and was stopped.", False),
    (Ended(-9, "full"), "The disk of this machine is nearly full.", True),
    (Ended(-9, "stopped"), "postBuild was stopped along with the service.", True),
    (Ended(None, "lost"), "postBuild was killed from outside, or the machine was restarted.", True),
    (Ended(1, "sandbox"), "The sandbox could not be made (no user namespaces).", True),
])
def test_sentences(end: Ended, sentence: str, retryable: bool) -> None:
    found = ended(end, "postBuild", LIMITS, "no user namespaces")
    assert (found.ok, found.reason, found.retryable) == (False, sentence, retryable)


def test_sizes() -> None:
    assert (size(512 << 20), size(3 << 29)) == ("512 MiB", "1.5 GiB")
