"""Step `install`: the environment's packages, Jupyter's and the repository's in one resolution, with uv.

Two ways, chosen by who starts the step. `wheels`: nothing is built, so no code of a package or repository runs, and the cache that
all builds share may be written. `build`: packages may be built from source, with a cache that belongs to this build alone. A
version that has no wheel is passed over in the first way for an older one that has (pip's --prefer-binary); where none has, the
step ends with `build` in its result and is started again in the second way.

Where a repository asks for a package of Jupyter's own itself, its wish replaces ours; and if both together cannot be had, ours
lose their versions.
"""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

from .requirements import normalize
from .said import Failure, read, report, say, write

VENV = "/srv/venv"
UV = "/run/uv"
_NAME = re.compile(r"^[A-Za-z0-9._-]+")
# Sentences of uv 0.13.
_MISSING = re.compile(r"(?:[Bb]ecause|and) (\S+) was not found in the (?:package registry|provided package locations)")
_NO_VERSION = re.compile(r"[Bb]ecause there is no version of (\S+?)(?: and|,)")
_NO_WHEEL = re.compile(r"Because (\S+?) (?:has|have) no wheels with a matching .+? (?:and|,)")


def main() -> int:
    """Run the step; the exit status."""
    job = read("job.json")
    try:
        Install(job).run()
    except Failure as failure:
        return report(failure)
    return 0


class Install:
    """One installation into the environment at /srv/venv."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.wheels: bool = job["wheels"]
        self.interpreter: str = job["interpreter"]
        self.jupyter: list[str] = job["jupyter"]
        self.plan: dict[str, Any] = job["plan"]
        self.requirements: list[list[Any]] = job["plan"]["requirements"]
        # Packages of conda are in the prefix already: none of them is to be removed, and it is no venv.
        self.mode = ["--break-system-packages"] if job["conda"] else ["--exact"]

    def run(self) -> None:
        """Make the environment unless it is there, and install."""
        if not os.path.exists(f"{VENV}/bin/python"):
            said = self.uv("venv", "--quiet", "--allow-existing", "--python", self.interpreter, VENV)
            if said:
                raise Failure(f"The environment could not be made: {said.strip().splitlines()[-1][:300]}")
        wanted = {name for _, _, _, name in self.requirements if name}
        ours = [line for line in self.jupyter if normalize(_named(line)) not in wanted]
        said = self.install(ours)
        if said and _conflict(said):
            say("building", "These versions do not go with those of Jupyter that are usual here; taking whatever goes with them.")
            said = self.install([_named(line) for line in ours])
        if not said:
            write("result.json", {"ok": True})
        elif self.wheels and re.search(r"no usable wheels|no wheels with|building from source is disabled|no-build", said):
            say("building", "Something has to be built from source.")
            write("result.json", {"ok": False, "build": True, "reason": "", "hint": "", "retryable": False})
        else:
            raise self.failure(said)

    def install(self, ours: list[str]) -> str:
        """Install everything in one resolution; what uv says when it cannot, else ""."""
        lines = [line[0] for line in self.plan["options"]] + ours + [line[0] for line in self.requirements]
        Path("/tmp/requirements.txt").write_text("\n".join(lines) + "\n")  # noqa: S108 - the sandbox's own
        arguments = ["-r", "/tmp/requirements.txt", *self.plan["flags"]]  # noqa: S108
        if self.plan["constraints"]:
            Path("/tmp/constraints.txt").write_text("\n".join(line[0] for line in self.plan["constraints"]) + "\n")  # noqa: S108
            arguments += ["-c", "/tmp/constraints.txt"]  # noqa: S108
        if any("index" in line[0].split()[0] for line in self.plan["options"]):
            arguments += ["--index-strategy", "unsafe-best-match"]  # as pip chooses among several indexes
        if self.wheels:
            arguments.append("--no-build")
        return self.uv("pip", "install", *self.mode, "--no-sources", "--python", f"{VENV}/bin/python", *arguments)

    def uv(self, *arguments: str) -> str:
        """Run uv, its words into the log; what it said if it failed."""
        process = subprocess.Popen(
            [UV, "--no-config", "--no-progress", "--color", "never", *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL, text=True, errors="replace", cwd="/tmp",  # noqa: S108
        )  # fmt: skip
        assert process.stdout is not None
        said: list[str] = []
        for line in process.stdout:
            if line.startswith(("Using Python ", " + ", " - ", " ~ ")):
                continue  # a hundred packages that nobody has asked for
            said.append(line)
            say("building", line.rstrip("\n"))
        if process.wait() == 0:
            return ""
        return "".join(said)[-20_000:] or f"uv ended with status {process.returncode}"

    def failure(self, said: str) -> Failure:
        """What went wrong, from what uv says, with file and line where one line is to blame."""
        flat = " ".join(said.split())
        if missing := _MISSING.search(flat):
            name = missing[1].strip("`'")
            return Failure(
                f"pip could not find a package named '{name}'{self.where(name)}.",
                "Check the spelling; it may also be a package that only conda has.",
            )
        if missing := _NO_VERSION.search(flat):
            return Failure(f"pip could not find {missing[1]}{self.where(_named(missing[1]))}.", "Ask for a version that exists.")
        if missing := _NO_WHEEL.search(flat):
            return Failure(
                f"{missing[1]} does not exist for this version of Python or this machine{self.where(_named(missing[1]))}.",
                "Ask for another version of it, or for another Python in runtime.txt.",
            )
        if "No solution found" in flat:
            because = re.search(r"(?:cause:|╰─▶)\s*(Because .*?unsatisfiable\.)", flat)
            detail = because[1] if because and len(because[1]) < 600 else "the log says which exclude each other."
            return Failure(f"The requirements exclude each other: {detail[0].lower() if because else ''}{detail[1 if because else 0:]}")
        if "Git operation failed" in flat or "failed to clone" in flat:
            url = re.search(r"'((?:https?|git)://[^']+)'", flat)
            return Failure(f"A package could not be fetched with git ({url[1] if url else 'see the log'}).", "Check its address.")
        if re.search(r"Failed to (fetch|download)|error sending request|Request failed after|dns error|Connect\)", flat):
            url = re.search(r"https?://[^\s`'?#]+", flat)
            gone = re.search(r"\b(404|410|403)\b", flat)
            return Failure(
                f"A package could not be downloaded{f' ({url[0][:200]})' if url else ''}.",
                "Check the address." if gone else "The package index cannot be reached; try again later.", retryable=not gone,
            )  # fmt: skip
        if built := re.search(r"Failed to build `?([^`\s]+)", flat):
            where = self.where(_named(built[1]))
            return Failure(f"{built[1]} could not be built{where}.", "The log says why; a released wheel needs no building.")
        if "No space left" in flat or "os error 28" in flat:
            return Failure("The disk is full.", "Try again later.", retryable=True)
        last = next((line.strip() for line in reversed(said.splitlines()) if line.strip()), "")
        return Failure(f"The packages could not be installed: {last[:300]}")

    def where(self, name: str) -> str:
        """File and line that name a package, in brackets; nothing if another package wants it."""
        for _, file, line, own in self.requirements:
            if own == normalize(name):
                return f" ({file}, line {line})" if line else f" ({file})"
        return ""


def _named(requirement: str) -> str:
    match = _NAME.match(requirement)
    return match[0] if match else requirement


def _conflict(said: str) -> bool:
    return "No solution found" in said and not re.search(r"was not found in|no version of|no usable wheels|no wheels with", said)
