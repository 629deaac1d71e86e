"""`dockyard check`: style, types, imports and layout, each told by itself; fails if one does."""

import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from cli.commands import layout

CHECKOUT = Path(__file__).resolve().parents[2]


def check() -> int:
    """Run all checks; the exit status."""
    here = Path(sys.executable).parent
    failed = []
    tools: Mapping[str, list[str | Path]] = {
        "style (ruff)": [here / "ruff", "check", "--quiet", "--output-format=concise", "."],
        "types (mypy)": [here / "mypy", "--no-error-summary"],
        "imports (import-linter)": [here / "lint-imports"],
    }
    for name, command in tools.items():
        began = time.monotonic()
        done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
        _tell(name, done.returncode == 0, began, done.stdout + done.stderr)
        if done.returncode:
            failed.append(name)
    steps: Mapping[str, Callable[[Path], list[str]]] = layout.CHECKS
    for name, step in steps.items():
        began = time.monotonic()
        problems = step(CHECKOUT)
        _tell(name, not problems, began, "\n".join(problems))
        if problems:
            failed.append(name)
    print(f"\n{len(failed)} failed: {', '.join(failed)}" if failed else "\nAll checks passed.")
    return 1 if failed else 0


def _tell(name: str, good: bool, began: float, output: str) -> None:
    print(f"{'ok  ' if good else 'FAIL'} {name} ({time.monotonic() - began:.1f} s)", flush=True)
    if not good:
        for line in output.strip().splitlines():
            print(f"     {line}")
