"""Log lines as plain text: without colours and cursor movements, a progress bar as it stood last."""

import json
import re
from collections.abc import Sequence

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b.")


def plain(lines: Sequence[str]) -> list[str]:
    """The messages of stored lines."""
    found = []
    for line in lines:
        message = _ESCAPES.sub("", str(json.loads(line)["message"])).rstrip("\r\n")
        found.append(message.rsplit("\r", 1)[-1])
    return found
