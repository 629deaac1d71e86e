"""What other libraries write into our logs."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = """
import logging
from services.observe import configure
from services.settings import LogSettings
configure(LogSettings(format="json"), "reaper")
try:
    raise OSError("reset")
except OSError as error:
    logging.getLogger("celery.beat").critical("Message Error: %s\\n%s", error, ["File ..."], exc_info=True)
    logging.getLogger("other").error("it is lost", exc_info=True)
"""


def test_a_doorbell_warns_in_one_line_and_others_say_all() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, check=True)
    bell, other = (json.loads(line) for line in done.stderr.splitlines())
    assert (bell["level"], bell["event"], "exception" in bell) == ("warning", "Message Error: reset", False)
    assert (other["level"], other["event"]) == ("error", "it is lost")
    assert "exception" in other or "exc_info" in other
