"""How a step speaks: lines of the build's log, and one result in a file.

The log carries JSON lines with a phase and a message (what repo2docker's --json-logs writes); anything else in it is passed on
under the phase it stands in. The result is a file beside the job, so that a flood in the log cannot drown it.
"""

import json
import os
from typing import Any

STEP = "/run/step"
HOME = "/home/jovyan"


class Failure(Exception):
    """The build cannot go on: a sentence for the user, what can be done, and whether another attempt may succeed."""

    def __init__(self, reason: str, hint: str = "", *, retryable: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.hint, self.retryable = reason, hint, retryable


def say(phase: str, message: str) -> None:
    """Write a line into the build's log."""
    print(json.dumps({"phase": phase, "message": message + "\n"}), flush=True)


def read(name: str) -> Any:
    """A JSON file of the step's directory."""
    with open(f"{STEP}/{name}", encoding="utf-8") as file:
        return json.load(file)


def write(name: str, value: object) -> None:
    """Write a JSON file of the step's directory, whole or not at all."""
    with open(f"{STEP}/.{name}", "w", encoding="utf-8") as file:
        json.dump(value, file)
    os.replace(f"{STEP}/.{name}", f"{STEP}/{name}")


def report(failure: Failure) -> int:
    """Leave a failure as the step's result; the step's exit status."""
    write("result.json", {"ok": False, "reason": failure.reason, "hint": failure.hint, "retryable": failure.retryable})
    return 1
