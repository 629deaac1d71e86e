"""Byte-compile an environment: without it every start of a server costs a second more.

Run with the environment's own base interpreter (3.9 or later) in a sandbox that has nothing in reach but the environment. What
is compiled already is left alone; a file that cannot be compiled (templates, code for Python 2) is nobody's concern.
"""

import compileall
import os
import sys


def main() -> int:
    """Compile everything below /srv/venv/lib, on all cores."""
    workers = len(os.sched_getaffinity(0))
    try:
        compileall.compile_dir("/srv/venv/lib", maxlevels=60, quiet=2, workers=workers if workers > 1 else 1)
    except Exception as error:  # noqa: BLE001 - a broken pool of workers: the environment works all the same, only slower
        print(f"Byte-compilation was given up: {error}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
