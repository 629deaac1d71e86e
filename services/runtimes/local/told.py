"""Lines of our own in the log of an attempt: each comes once, whoever owns the attempt, and however often it is begun again."""

import json
import os
import re
from pathlib import Path


def say(directory: Path, log: Path, mark: str, phase: str, message: str) -> bool:
    """Write a line into the log of the attempt in a directory, once for each mark; whether it is new."""
    done = directory / f".said-{mark}"
    if done.exists():
        return False
    line = json.dumps({"phase": phase, "message": message + "\n"}).encode() + b"\n"
    fd = os.open(log, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        tail = os.pread(fd, 1 << 16, max(0, os.fstat(fd).st_size - (1 << 16)))
        if line not in tail:
            os.write(fd, line)
    finally:
        os.close(fd)
    done.touch()
    return True


def repeat(log: Path, other: Path) -> None:
    """Repeat in a log what another one says; every repeated line carries its number there, so none comes twice."""
    try:
        lines = other.read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:
        return
    done = re.findall(rb'(?m)^\{"phase": .*"base": (\d+)\}$', log.read_bytes())
    with log.open("ab") as file:
        for number in range(int(done[-1]) if done else 0, len(lines)):
            text = lines[number].decode(errors="replace")
            message = json.loads(text)["message"] if text.startswith('{"phase": ') else f"{text}\n"
            file.write(json.dumps({"phase": "building", "message": message, "base": number + 1}).encode() + b"\n")
