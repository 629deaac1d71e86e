"""Why a run has ended, in words for the log and for the reason of a failure. Pure."""

import signal

from services.runtimes.base import Exit
from services.runtimes.local.detached import Ended, Limits

FULL = 15.0  # seconds: a disk that is full stays so for a while


def ended(end: Ended, what: str, limits: Limits, last: str = "") -> Exit:
    """The failure of a run that left no result of its own; `what` begins the sentence, such as "The build"."""
    sentences: dict[str, tuple[str, str, bool]] = {
        "deadline": (f"{what} took longer than {limits.seconds:g} seconds and was stopped.", "", False),
        "idle": (f"{what} said nothing for {limits.idle:g} seconds and was stopped.", "Let long steps print their progress.", False),
        "memory": (f"{what} used more memory than it may ({size(limits.memory)}) and was stopped.", "", False),
        "flood": (f"{what} wrote more than {size(16 * limits.log_bytes)} of log and was stopped.", "Let it print less.", False),
        "disk": (f"{what} took more disk than it may ({size(limits.disk_bytes)}) and was stopped.", "", False),
        "full": ("The disk of this machine is nearly full.", "Try again later.", True),
        "stopped": (f"{what} was stopped along with the service.", "Try again.", True),
        "lost": (f"{what} was killed from outside, or the machine was restarted.", "Try again.", True),
        "sandbox": (f"The sandbox could not be made ({last or 'see the log'}).", "`dockyard doctor` says what this machine lacks.", True),
    }  # fmt: skip
    if end.reason in sentences:
        reason, hint, retryable = sentences[end.reason]
        return Exit(ok=False, reason=reason, hint=hint, retryable=retryable, wait=FULL if end.reason == "full" else 0.0)
    code = end.code or 0
    if code == 128 + signal.SIGXFSZ:
        return Exit(ok=False, reason=f"{what} wrote a file of more than {size(limits.file_bytes)}, which it may not.")
    if code == 128 + signal.SIGXCPU:
        return Exit(ok=False, reason=f"{what} used more processor time than it may and was stopped.")
    refused = f" It may have {limits.processes} processes and threads, and was refused more." if end.refused else ""
    if code > 128 and code - 128 in {number.value for number in signal.Signals}:
        return Exit(ok=False, reason=f"{what} was ended by signal {signal.Signals(code - 128).name}.{refused}")
    return Exit(ok=False, reason=f"{what} ended with status {code}.{refused}")


def size(count: int) -> str:
    """Bytes for people."""
    return f"{count / (1 << 30):.3g} GiB" if count >= 1 << 30 else f"{count / (1 << 20):.3g} MiB"
