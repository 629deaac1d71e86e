"""Byte-compile an environment: without it every start of a server costs a second more.

Run with the environment's own base interpreter (3.9 or later) in a sandbox that has nothing in reach but the environment. What
is compiled already is left alone; a file that cannot be compiled (templates, code for Python 2) is nobody's concern.
"""

import compileall
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from importlib.util import cache_from_source

TOP = "/srv/venv/lib"
CHUNK = 40  # files for one worker at a time


def stale(top: str) -> Iterator[str]:
    """Source files whose bytecode is missing or of another version of them."""
    for directory, names, files in os.walk(top):
        names[:] = [name for name in names if name != "__pycache__"]
        for name in files:
            path = os.path.join(directory, name)
            if name.endswith(".py") and not _current(path):
                yield path


def _current(path: str) -> bool:
    try:
        source = os.stat(path)
        with open(cache_from_source(path), "rb") as file:
            head = file.read(16)
    except (OSError, NotImplementedError):
        return False
    # The head of a .pyc file (PEP 552): magic, flags, time of the source, its size.
    time, size = (int.from_bytes(head[at : at + 4], "little") for at in (8, 12))
    return (time, size) == (int(source.st_mtime) & 0xFFFFFFFF, source.st_size & 0xFFFFFFFF)


def compile_files(paths: "list[str]") -> None:
    """Compile some files, quietly."""
    for path in paths:
        compileall.compile_file(path, quiet=2, force=True)


def main() -> int:
    """Compile what is stale below /srv/venv/lib, on all cores."""
    paths = sorted(stale(TOP))
    if paths:
        print(f"Compiling {len(paths)} Python files", flush=True)
    chunks = [paths[at : at + CHUNK] for at in range(0, len(paths), CHUNK)]
    if len(chunks) < 2:
        compile_files(paths)
        return 0
    try:
        with ProcessPoolExecutor(min(len(os.sched_getaffinity(0)), len(chunks))) as pool:
            for _ in pool.map(compile_files, chunks):
                pass
    except Exception as error:  # noqa: BLE001 - a broken pool of workers: the environment works all the same, only slower
        print(f"Byte-compilation was given up: {error}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
