"""A stand-in part: says what it is told, writes down its end, and ends how it is told.

    stand_in.py NAME DIRECTORY [--fail N] [--fail-again N] [--stubborn] [--child]

It appends "NAME started" and "NAME stopped" to DIRECTORY/story; `--fail N` exits with status 3 in the first N runs,
`--fail-again N` in the N runs after the first,
`--stubborn` ignores SIGTERM, `--child` starts a sleeping child in the same group.
"""

import signal
import subprocess
import sys
from pathlib import Path

name, directory, *words = sys.argv[1:]
story = Path(directory) / "story"


def tell(text: str) -> None:
    with story.open("a") as file:
        file.write(f"{name} {text}\n")


runs = Path(directory) / f"{name}.runs"
count = int(runs.read_text()) + 1 if runs.exists() else 1
runs.write_text(str(count))
tell("started")
if "--fail" in words and count <= int(words[words.index("--fail") + 1]):
    print(f"{name} has a reason to fail", flush=True)
    sys.exit(3)
if "--fail-again" in words and 1 < count <= 1 + int(words[words.index("--fail-again") + 1]):
    sys.exit(4)
if "--child" in words:
    child = subprocess.Popen(["sleep", "300"])
    (Path(directory) / f"{name}.child").write_text(str(child.pid))
if "--stubborn" in words:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
else:

    def end(*_: object) -> None:
        tell("stopped")
        sys.exit(0)

    signal.signal(signal.SIGTERM, end)
print("up and running", flush=True)
while True:
    signal.pause()
