"""Starts the Jupyter server of a sandbox, with the interpreter of the repository's environment: `serve.py OPTIONS…`.

The same as `jupyter lab OPTIONS…`, three times as fast, because two things are left out that the server never uses:

- jsonschema imports a checker of internationalised URLs if there is one, and that compiles a grammar for 0.9 s;
- JupyterLab asks Yarn for its registry (0.25 s) if it finds Node.js while it is imported.

Only the server's process is concerned; kernels and terminals find everything. Standard library only, and no syntax newer
than Python 3.9, the oldest that environments have.
"""

import os
import sys
from contextlib import suppress
from importlib import import_module
from typing import Any

SLOW = "rfc3987_syntax"
NOWHERE = "/nonexistent"


def find_main() -> Any:
    """The `main` of JupyterLab; of the bare server where the repository's own requirements have broken JupyterLab."""
    path = os.environ.get("PATH", os.defpath)
    sys.modules[SLOW] = None  # type: ignore[assignment]  # an import of it fails with ImportError
    with suppress(ImportError):
        import_module("jsonschema")
    del sys.modules[SLOW]
    os.environ["PATH"] = NOWHERE
    try:
        return import_module("jupyterlab.labapp").main
    except Exception as error:  # noqa: BLE001 - whatever another version of a library does on import
        print(f"JupyterLab cannot be imported ({type(error).__name__}: {error}); starting without it.", file=sys.stderr)
    finally:
        os.environ["PATH"] = path
    return import_module("jupyter_server.serverapp").main


if __name__ == "__main__":
    del sys.path[0]  # this folder, whose packages would stand before those of the environment
    start = find_main()
    sys.argv[0] = "jupyter-lab"
    sys.exit(start())
