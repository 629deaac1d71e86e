"""Step `conda_install`: environment.yml as it stands, solved and installed by py-rattler where conda's channels answer.

What repo2docker asks of mamba: the packages of the file, Python and pip into one prefix. Link scripts of packages are not run.
The pip part and Jupyter follow in step `install`, into the same prefix.
"""

import asyncio
import os
import re
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from .said import Failure, read, report, say, write

VENV = "/srv/venv"
CACHE = "/run/conda"
RATTLER = "/run/rattler"
DEFAULTS = ("https://repo.anaconda.com/pkgs/main", "https://repo.anaconda.com/pkgs/r")


def main() -> int:
    """Run the step; the exit status."""
    job = read("job.json")
    code = 0
    try:
        asyncio.run(install(job))
        write("result.json", {"ok": True})
    except Failure as failure:
        code = report(failure)
    sys.stdout.flush()
    os._exit(code)  # threads of py-rattler 0.28 may still run, and crash an interpreter that ends in order


async def install(job: dict[str, Any]) -> None:
    """Solve and install. Raises `Failure`."""
    sys.path.insert(0, RATTLER)
    import rattler
    from rattler import exceptions

    path = job["path"]
    try:
        configuration = rattler.ChannelConfig(channel_alias=job["alias"])
        channels = [rattler.Channel(name, configuration) for name in channel_names(job["channels"], path)]
        specs = [rattler.MatchSpec(spec) for spec in wanted(job["specs"], job["python"])]
    except (exceptions.InvalidMatchSpecError, exceptions.InvalidChannelError, exceptions.InvalidUrlError) as error:
        raise Failure(f"{path} cannot be read by conda: {_flat(error)}") from error
    say("building", f"Solving {path} with {', '.join(str(channel.name) for channel in channels)}")
    try:
        records = await rattler.solve(
            channels, specs, gateway=rattler.Gateway(cache_dir=Path(CACHE) / "repodata"), virtual_packages=rattler.VirtualPackage.detect(),
        )  # fmt: skip
    except exceptions.SolverError as error:
        raise Failure(f"conda cannot solve {path}: {_flat(error)}", "Ask for versions that go together and exist.") from error
    except exceptions.GatewayError as error:
        raise Failure(f"A channel of {path} does not answer: {_flat(error)}", "Try again later.", retryable=True) from error
    say("building", f"Installing {len(records)} packages of conda")
    try:
        await rattler.install(records, VENV, cache_dir=Path(CACHE) / "packages", execute_link_scripts=False, show_progress=False)
    except (exceptions.LinkError, exceptions.InstallerError, exceptions.TransactionError, exceptions.IoError) as error:
        raise Failure(f"Packages of conda could not be installed: {_flat(error)}", "Try again later.", retryable=True) from error


def channel_names(channels: list[str], path: str) -> list[str]:
    """The channels to ask, conda-forge if none is named. Raises `Failure` for one that is no address of the web."""
    found: list[str] = []
    for channel in channels:
        parts = urlsplit(channel)
        if parts.scheme not in ("", "http", "https") or parts.username is not None or channel.startswith((".", "/", "~")):
            raise Failure(f"{path}: the channel {channel[:100]!r} is not one of the web.")
        if channel == "defaults":
            found += DEFAULTS
        elif channel != "nodefaults":
            found.append(channel)
    return found or ["conda-forge"]


def wanted(specs: list[str], python: str) -> list[str]:
    """The specifications to solve: those of the file, Python if it names none, and pip."""
    names = {re.split(r"[\s=<>!~\[]", spec.rpartition("::")[2].strip())[0].lower() for spec in specs}
    return [*specs, *([] if "python" in names else [f"python {python}.*"]), *([] if "pip" in names else ["pip"])]


def _flat(error: Exception) -> str:
    return " ".join(str(error).split())[:600]
