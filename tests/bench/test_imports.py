"""Who has installed Dockyard to run it can run its benches: what they import, at once or late, needs no package of developers."""

import ast
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# Everything that is installed for developers alone looks as if it were not there.
CODE = """
import importlib, sys
missing, *names = sys.argv[1:]
for name in missing.split(","):
    sys.modules[name] = None
for name in names:
    importlib.import_module(name)
"""


def locked(path: str) -> set[str]:
    """Packages of a lock file."""
    return set(re.findall(r"^([a-z0-9][a-z0-9._-]*)(?:\[[^]]*\])?==", (ROOT / path).read_text(), re.MULTILINE))


def imported() -> set[str]:
    """The modules of benches, and those of tests that they import anywhere."""
    names = {f"bench.{path.stem}" for path in (ROOT / "bench").glob("*.py") if path.stem not in ("__init__", "__main__", "peer_config")}
    for path in (ROOT / "bench").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tests"):
                names |= {f"{node.module}.{alias.name}" if (ROOT / (node.module or "").replace(".", "/") / f"{alias.name}.py").exists()
                          else str(node.module) for alias in node.names}
    return names


def test_benches_need_nothing_of_developers() -> None:
    developers = {name.replace("-", "_") for name in locked("requirements-dev.txt") - locked("requirements.txt")}
    assert "pytest" in developers
    found = imported()
    assert "tests.faults.outside" in found
    done = subprocess.run(
        [sys.executable, "-c", CODE, ",".join(sorted(developers)), *sorted(found)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
