"""`dockyard lock`: requirement files with hashes, for every platform and Python >= 3.11, from pyproject.toml.

The files hold names, versions and hashes alone: no address of an index, no place on a machine. uv.lock would.
"""

import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
COMMON = (
    "--generate-hashes", "--universal", "--python-version", "3.11", "--no-header", "--no-annotate",
    "--no-emit-index-url", "--no-emit-find-links", "--quiet", "--upgrade",
)
FILES = (
    ("requirements.txt", ("pyproject.toml",)),
    ("requirements-dev.txt", ("-c", "requirements.txt", "--group", "dev", "pyproject.toml")),
    ("requirements-node.txt", ("--group", "node")),
)


def lock() -> int:
    """Write the three files; the exit status."""
    uv = Path(sys.executable).with_name("uv")
    for name, words in FILES:
        command = [uv, "pip", "compile", *COMMON, *words, "-o", name]
        if subprocess.run(command, cwd=CHECKOUT, check=False).returncode != 0:
            return 1
    return 0
