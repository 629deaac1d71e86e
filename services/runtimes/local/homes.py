"""A server's home and sandbox: how an image becomes something that runs.

The home starts as the image's content and belongs to the server alone. It is a copy (with shared blocks where the
file system can), or, where the content is big and everything is one account, an overlay on the content: as root,
servers are accounts of their own, and the kernel does not copy a file up that belongs to somebody the sandbox does
not know. """

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from services.egress import Purpose
from services.runtimes.local import trees
from services.runtimes.local.detached import Limits
from services.runtimes.local.images import ImageRecord
from services.runtimes.local.sandbox import HOME, VENV, Bind, Overlay, Sandbox
from services.runtimes.local.surroundings import Surroundings, without_credentials
from services.settings import LocalSettings

SOCKETS = "/run/server"
BIG = 64 << 20  # bytes of content from which an overlay is worth its mounts


@dataclass(frozen=True, slots=True)
class Home:
    """Where a server's home comes from: a directory of its own, or an overlay."""

    binds: tuple[Bind, ...]
    overlays: tuple[Overlay, ...]


def prepare_home(record: ImageRecord, directory: Path, uid: int | None, *, overlay: bool = True) -> Home:
    """Make a server's home below its directory, and note what the server uses; blocking. Called again it finds the
    home.

    `overlay` says whether the kernel permits one (`probe.overlays`).
    """
    uses = {"content": str(record.content), "environment": str(record.environment.directory)}
    draft = directory / ".uses.json"
    draft.write_text(json.dumps(uses))
    draft.replace(directory / "uses.json")  # whole: whoever collects reads it at any moment
    home = directory / "home"
    if overlay and uid is None and record.content_bytes > BIG:
        upper, work = directory / "upper", directory / "work"
        for path in (upper, work):
            path.mkdir(exist_ok=True)
        return Home((), (Overlay(str(record.content), str(upper), str(work), HOME),))
    if not home.exists():
        draft = directory / "home.part"
        trees.discard(draft)
        draft.mkdir(mode=0o755)
        if uid is not None:
            os.chown(draft, uid, uid)
        trees.copy(record.content, draft, uid)
        draft.rename(home)
    return Home((Bind(str(home), HOME, writable=True),), ())


def server_sandbox(
    surroundings: Surroundings,
    record: ImageRecord,
    home: Home,
    command: tuple[str, ...],
    *,
    sockets: Path,
    env: Mapping[str, str],
    tmp: Path | None = None,
    processes: int = 0,
    online: bool = True,
) -> Sandbox:
    """The sandbox of a server: home writable, environment read-only, `sockets` at /run/server, network by the rule
    `server`.

    `command` is what repo2docker's image would run, such as ("jupyter", "lab", …); a start script is put in front of
    it. """
    if record.start:
        command = (f"{HOME}/{record.start}", *command)
    binds = (*home.binds, Bind(str(record.environment.venv), VENV), Bind(str(sockets), SOCKETS, writable=True))
    return surroundings.sandbox(
        Purpose.SERVER, ("exec", *command), env={**python_env(), **without_credentials(surroundings.index), **env},
        binds=binds, overlays=home.overlays, cwd=HOME, tmp=tmp, interpreter=record.environment.interpreter,
        processes=processes, online=online,
    )  # fmt: skip


def python_env() -> dict[str, str]:
    """The variables by which repo2docker's images name the environment, for postBuild, start and servers."""
    return {
        "REPO_DIR": HOME, "APP_BASE": "/srv", "VIRTUAL_ENV": VENV, "NB_PYTHON_PREFIX": VENV, "KERNEL_PYTHON_PREFIX": VENV,
        "CONDA_DEFAULT_ENV": VENV,
    }  # fmt: skip


def server_limits(settings: LocalSettings) -> Limits:
    """The limits of a server, from the settings."""
    return Limits(
        memory=settings.server_memory, processes=settings.server_processes, cpus=settings.server_cpus, files=settings.files,
        file_bytes=settings.file_bytes, disk_bytes=settings.server_bytes, free_bytes=settings.free_bytes, grace=2.0,
    )  # fmt: skip
