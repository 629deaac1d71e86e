"""The Python interpreters that environments can be made with: those installed on this machine.

Looked for are, in order of preference for one version: what `local.pythons` names, those that uv manages, the one we
run on and its neighbours (pyenv), the system's. Started as root, one that only root can read is copied into the home
when it is first used. """

import glob
import json
import os
import subprocess
import sys
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from services.errors import Misconfigured
from services.runtimes.local.tools import reachable

# repo2docker's default (CondaBuildPack.major_pythons of jupyter-repo2docker 2026.4.0; a test compares).
REPO2DOCKER_DEFAULT = "3.10"
OLDEST = (3, 9)  # JupyterLab 4 has dropped what is older

_QUESTION = (
    "import json, platform, sys; print(json.dumps([platform.python_version(), sys.base_prefix, sys.base_exec_prefix,"
    " platform.python_implementation()]))"
)


@dataclass(frozen=True, slots=True)
class Interpreter:
    """One interpreter; `source` has to be bound at `prefix` in sandboxes, unless it is below /usr.

    The two differ where only root can read the prefix: a copy then stands in its place, at the same path inside, because
    interpreters may find their library by an absolute path.
    """

    version: str  # "3.11.7"
    executable: str
    prefix: str
    source: str

    @property
    def minor(self) -> str:
        """Such as "3.11"."""
        return ".".join(self.version.split(".")[:2])

    @property
    def bound(self) -> bool:
        """Whether the prefix is a directory of its own, not part of the system."""
        return not (self.prefix + "/").startswith("/usr/")


@cache
def installed(named: tuple[str, ...] = ()) -> tuple[Interpreter, ...]:
    """The preferred interpreter of each version; a look takes about 20 ms for each, so it is taken once."""
    found: dict[str, Interpreter] = {}
    for executable in _candidates(named):
        interpreter = _ask(executable)
        if interpreter is not None and _wanted(interpreter):
            found.setdefault(interpreter.version, interpreter)
    return tuple(found.values())


@cache
def usable(interpreter: Interpreter, store: Path) -> Interpreter:
    """The interpreter with a source that every account can read; copying takes about a second, once."""
    if not interpreter.bound:
        return interpreter
    return replace(interpreter, source=str(reachable(Path(interpreter.prefix), store, ignore=_ballast)))


def for_programs(interpreters: tuple[Interpreter, ...], store: Path) -> Interpreter:
    """The interpreter for our own programs in sandboxes (Python 3.11 or later): the system's where it will do."""
    able = [one for one in interpreters if _number(one) >= (3, 11)]
    if not able:
        raise Misconfigured("No Python from 3.11 on was found for the programs in sandboxes; set local.pythons.")
    return usable(min(able, key=lambda one: one.bound), store)


def choose(
    interpreters: tuple[Interpreter, ...], version: str, *, default: str = ""
) -> tuple[Interpreter | None, str]:
    """The interpreter for a version ("3.11", "3.11.7" or "" for none named) and a sentence where it is not the
    obvious one.

    Pure. None means that the version is not to be had here; the sentence says what is.
    """
    if version:
        wanted = version.split(".")
        for interpreter in sorted(interpreters, key=_number, reverse=True):
            if interpreter.version.split(".")[: len(wanted)] == wanted:
                return interpreter, ""
        minors = ", ".join(sorted({one.minor for one in interpreters}, key=lambda minor: int(minor.split(".")[1])))
        return None, f"Python {version} is not installed on this machine, which has {minors or 'none'}."
    if default:
        return choose(interpreters, default)
    chosen, _ = choose(interpreters, REPO2DOCKER_DEFAULT)
    if chosen is not None:
        return chosen, f"Python version unspecified, using repo2docker's default, Python {chosen.version}."
    if not interpreters:
        return None, "No Python that environments could be made with is installed on this machine."
    ours = [one for one in interpreters if one.minor == "{}.{}".format(*sys.version_info[:2])]
    chosen = (ours or list(interpreters))[0]
    return chosen, (
        f"Python version unspecified, using Python {chosen.version}: repo2docker's default, {REPO2DOCKER_DEFAULT}, "
        f"is not installed here."
    )


def _number(interpreter: Interpreter) -> tuple[int, ...]:
    return tuple(int(part) for part in interpreter.version.split(".") if part.isdigit())


def _wanted(interpreter: Interpreter) -> bool:
    return _number(interpreter) >= OLDEST and interpreter.version.replace(".", "").isdigit()


def _candidates(named: tuple[str, ...]) -> list[str]:
    managed = os.environ.get("UV_PYTHON_INSTALL_DIR") or os.path.expanduser("~/.local/share/uv/python")
    patterns = [*named, f"{managed}/cpython-3.*/bin/python3.[0-9]*"]
    base = Path(sys.base_prefix)
    patterns.append(f"{base}/bin/python3.{sys.version_info.minor}")
    if base.parent.name == "versions":
        patterns.append(f"{base.parent}/3.*/bin/python3.[0-9]*")
    patterns += ["/usr/local/bin/python3.[0-9]*", "/usr/bin/python3.[0-9]*"]
    found = [path for pattern in patterns for path in sorted(glob.glob(pattern)) if not path.endswith("-config")]
    return list(dict.fromkeys(found))


def _ask(executable: str) -> Interpreter | None:
    try:
        answer = subprocess.run(
            [executable, "-I", "-S", "-c", _QUESTION], capture_output=True, text=True, timeout=20, check=True, env={}
        )
        version, prefix, exec_prefix, implementation = json.loads(answer.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    if implementation != "CPython" or prefix != exec_prefix:
        return None
    minor = ".".join(version.split(".")[:2])
    own = f"{prefix}/bin/python{minor}"
    return Interpreter(version, own if os.path.exists(own) else executable, prefix, prefix)


def _ballast(directory: str, names: list[str]) -> list[str]:
    """What an environment's interpreter does not need, and what belongs to somebody: others' packages."""
    if os.path.basename(directory) == "bin":
        return [name for name in names if not name.startswith("python")]
    left_out = {"site-packages", "dist-packages", "test", "share", "lib2to3", "idlelib", "tkinter", "turtledemo"}
    return [name for name in names if name in left_out or name.endswith(".a")]
