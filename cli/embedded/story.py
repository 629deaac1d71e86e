"""What `up` says on its terminal: a line per start, move and warning, however much the parts write.

Our own parts log JSON lines (`log.format`), of which warnings, errors and the moves of launches, builds and servers are
shown; everything else stands in the parts' log files. A flood is cut, and said to be.
"""

import contextlib
import json
import sys
import time
from typing import Any

SHOWN = ("launch_", "build_", "server_", "environment_", "image_", "sweep_", "sandbox_")
HIDDEN_KEYS = frozenset({"event", "level", "timestamp", "process", "exception", "logger", "owner"})
PER_SECOND = 20  # lines of one part


class Story:
    """Writes the lines."""

    def __init__(self) -> None:
        self._second, self._counts = 0, dict[str, int]()

    def say(self, name: str, text: str) -> None:
        """A line about a part."""
        line = f"{time.strftime('%H:%M:%S')} {name:<10} {text}"
        with contextlib.suppress(OSError):  # the terminal may be closed; that must not end anything
            print(line, flush=True)

    def hear(self, name: str, line: str) -> None:
        """A line that a part has written."""
        if not line.startswith("{"):
            return
        try:
            told = json.loads(line)
        except ValueError:
            return
        if isinstance(told, dict) and (text := shown(told)):
            self._limited(name, text)

    def _limited(self, name: str, text: str) -> None:
        now = int(time.monotonic())
        if now != self._second:
            for part, count in self._counts.items():
                if count > PER_SECOND:
                    self.say(part, f"... {count - PER_SECOND} more lines in its log")
            self._second, self._counts = now, {}
        self._counts[name] = count = self._counts.get(name, 0) + 1
        if count <= PER_SECOND:
            self.say(name, text)


def shown(told: dict[str, Any]) -> str:
    """The line for people of one log entry; empty if it is not for the terminal."""
    event, level = str(told.get("event", "")), told.get("level", "info")
    if level not in ("warning", "error", "critical") and not event.startswith(SHOWN):
        return ""
    words = [event.replace("_", " ")]
    words += [f"{key}={_short(value)}" for key, value in told.items() if key not in HIDDEN_KEYS and value not in ("", None)]
    if told.get("exception"):
        words.append(str(told["exception"]).strip().splitlines()[-1])
    return ("" if level == "info" else f"{level}: ") + " ".join(words)


def _short(value: object) -> str:
    text = str(value)
    return f"{text[:12]}…" if len(text) == 32 and text.isalnum() else text if len(text) <= 160 else f"{text[:159]}…"


def fail(sentence: str) -> None:
    """The last words of a command that cannot go on."""
    with contextlib.suppress(OSError):
        print(sentence, file=sys.stderr, flush=True)
