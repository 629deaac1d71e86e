"""Lines of the log: repo2docker's format, and ours beside it."""

import json
import sys


def line(message: str, phase: str) -> None:
    """One line for the user."""
    sys.stdout.write(json.dumps({"message": message.rstrip("\n") + "\n", "phase": phase}) + "\n")
    sys.stdout.flush()


def fact(**facts: object) -> None:
    """One line for the worker."""
    sys.stdout.write(json.dumps({"dockyard": facts}) + "\n")
    sys.stdout.flush()
