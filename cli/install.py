"""Makes the Python environment: the part of `./dockyard` that is too subtle for a shell.

Run as a script by a bare Python 3.11 or newer: `install.py CHECKOUT HOME LOCK`; imports nothing but the standard library.
It prints the path of the environment, and everything else on stderr.

The work is done by uv, which needs a fifth of pip's time; where there is none, pip brings it from the same lock. Every
package is checked against its hash. One process installs at a time, others wait and find the work done. The copy of
the lock in the environment is removed before anything changes and put back last: an environment without one
was interrupted and is made anew, because a half-unpacked package looks installed to every installer.
"""

import contextlib
import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

LOCKS = ("requirements.txt", "requirements-dev.txt")


class InstallFailed(Exception):
    """The environment cannot be made; the text is a sentence for the user."""


def say(text: str) -> None:
    """One line for the person who waits."""
    print(text, file=sys.stderr, flush=True)


def place(checkout: Path, home: Path) -> Path:
    """Where the environment goes: in the checkout if it can be written, otherwise in the home."""
    if os.access(checkout, os.W_OK):
        return checkout / ".venv"
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InstallFailed(f"Neither {checkout} nor {home} can be written ({error.strerror}).") from error
    return home / "venv"


@contextlib.contextmanager
def alone(venv: Path) -> Iterator[None]:
    """Hold the lock of this environment; the system lets go of it when the process dies."""
    path = venv.with_name(f"{venv.name}.lock")
    try:
        handle = path.open("w")
    except OSError as error:
        raise InstallFailed(f"{path} cannot be written: {error.strerror}.") from error
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Another installation is under way; waiting for it ...")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def complete(venv: Path, checkout: Path, lock: str) -> bool:
    """Whether the environment was made from this very lock and its interpreter still runs."""
    return same(venv / lock, checkout / lock) and usable(venv)


def same(one: Path, other: Path) -> bool:
    """Whether two files can be read and are equal."""
    try:
        return one.read_bytes() == other.read_bytes()
    except OSError:
        return False


def forget_bytecode(venv: Path) -> None:
    """Remove all bytecode before packages are replaced.

    Python trusts bytecode whose source has the noted time and size, and in wheels all files may have the same time: a new
    file of the old one's length would run as the old one.
    """
    for directory in list(venv.rglob("__pycache__")):
        shutil.rmtree(directory, ignore_errors=True)


def usable(venv: Path) -> bool:
    """Whether the environment's interpreter starts."""
    try:
        return subprocess.run([venv / "bin/python", "-I", "-c", ""], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def run(command: list[str | Path], environ: dict[str, str], log: Path) -> bool:
    """Run a step with its output in the log; false if it fails."""
    with log.open("ab") as output:
        done = subprocess.run(command, env=environ, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False)
    return done.returncode == 0


def index_settings(python: Path) -> dict[str, str]:
    """The index that pip is configured for, in uv's words, unless uv has its own."""
    environ = dict(os.environ)
    environ.pop("PYTHONPATH", None)
    environ.pop("VIRTUAL_ENV", None)
    environ["UV_NO_PROGRESS"] = environ["PIP_DISABLE_PIP_VERSION_CHECK"] = "1"
    if any(name in environ for name in ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_CONFIG_FILE")):
        return environ
    index = environ.get("PIP_INDEX_URL", "")
    if not index:
        asked = subprocess.run(
            [python, "-m", "pip", "config", "get", "global.index-url"], capture_output=True, text=True, check=False
        )
        index = asked.stdout.strip() if asked.returncode == 0 else ""
    if index:
        environ["UV_DEFAULT_INDEX"] = index
    return environ


def uv_alone(lock: Path) -> str:
    """The lines of the lock that pin uv itself."""
    found = re.search(r"^uv==.*(?:\n +--hash.*)+", lock.read_text(), re.MULTILINE)
    if found is None:
        raise InstallFailed(f"{lock} does not pin uv.")
    return found[0] + "\n"


def make(venv: Path, log: Path, uv: str | None) -> None:
    """An empty environment of the interpreter that runs this, with pip unless uv is here."""
    shutil.rmtree(venv, ignore_errors=True)
    extra = ["--without-pip"] if uv else []
    if not run([sys.executable, "-I", "-m", "venv", *extra, venv], dict(os.environ), log):
        raise InstallFailed(
            f"{sys.executable} cannot make a virtual environment; install uv, or Python's venv and pip (on Debian: "
            f"python3-venv). Its words are in {log}."
        )


def bring_uv(venv: Path, lock: Path, environ: dict[str, str], log: Path) -> str | None:
    """Install uv with the environment's pip; None where that fails, for then pip has to do all."""
    if not (venv / "bin/uv").exists():
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as pins:
            pins.write(uv_alone(lock))
            pins.flush()
            words = ["-m", "pip", "install", "-q", "--no-deps", "--require-hashes", "-r", pins.name]
            if not run([venv / "bin/python", *words], environ, log):
                return None
    return str(venv / "bin/uv")


def with_uv(uv: str, venv: Path, pins: Path, environ: dict[str, str], log: Path) -> bool:
    """Install with uv; a second time with the system's certificates, which a mirror may need and uv does not look at."""
    command: list[str | Path] = [uv, "pip", "install", "--python", venv / "bin/python", "--require-hashes"]
    command += ["--compile-bytecode", "-r", pins]
    return run(command, environ, log) or run(command, environ | {"UV_SYSTEM_CERTS": "1", "UV_NATIVE_TLS": "1"}, log)


def install(venv: Path, checkout: Path, lock: str) -> None:
    """Make the environment hold everything that the lock names."""
    started = time.monotonic()
    say(f"Installing Dockyard's packages into {venv} (once, about a minute) ...")
    fresh = not usable(venv) or not any((venv / name).exists() for name in LOCKS)
    log = venv.with_name(f"{venv.name}.log")
    log.write_bytes(b"")
    uv = shutil.which("uv")
    if uv is None and not fresh and (venv / "bin/uv").exists():
        uv = str(venv / "bin/uv")
    if fresh:
        make(venv, log, uv)
    elif any((venv / name).exists() and not same(venv / name, checkout / name) for name in LOCKS):
        forget_bytecode(venv)
    for name in LOCKS:
        (venv / name).unlink(missing_ok=True)
    pins = checkout / lock
    environ = index_settings(Path(sys.executable))
    uv = uv or bring_uv(venv, pins, environ, log)
    done = uv is not None and with_uv(uv, venv, pins, environ, log)
    if not done:
        done = run([venv / "bin/python", "-m", "ensurepip", "--upgrade"], environ, log) and run(
            [venv / "bin/python", "-m", "pip", "install", "-q", "--require-hashes", "-r", pins], environ, log
        )
    if not done:
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
        raise InstallFailed("\n".join([*lines[-15:], f"Dockyard's packages could not be installed; the whole log is {log}."]))
    for name in {lock, LOCKS[0]}:
        shutil.copyfile(checkout / name, venv / f"{name}.part")
        (venv / f"{name}.part").replace(venv / name)
    say(f"Installed in {time.monotonic() - started:.0f} s.")


def main() -> int:
    """Install if need be and print the environment's path."""
    checkout, home, lock = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    try:
        venv = place(checkout, home)
        with alone(venv):
            if not complete(venv, checkout, lock):
                install(venv, checkout, lock)
    except InstallFailed as error:
        say(str(error))
        return 1
    except OSError as error:
        say(f"The installation stopped: {error}.")
        return 1
    except KeyboardInterrupt:
        say("Interrupted; the next run starts the installation again.")
        return 130
    print(venv)
    return 0


if __name__ == "__main__":
    sys.exit(main())
