"""The file of a backup: a tar archive, readable by its owner alone, that holds what cannot be made again.

    manifest.json   what this is: format, versions, schema, when and where it was made
    database.dump   the database, as pg_dump writes it (custom format: a newer PostgreSQL can read it)
    secret/NAME     keys and passwords; whoever has them can open every server and do what an administrator can
    settings.toml   the file of settings, where one was given

Images, environments and caches are left out: they are built again from their repositories. So is the hub's state, which is
about servers that do not move.
"""

import contextlib
import io
import json
import os
import re
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from services.errors import Misconfigured

FORMAT = 1
_SECRET = re.compile(r"secret/[a-z][a-z0-9-]{0,40}")
_SMALL = 1 << 20  # bytes of anything but the dump


@dataclass(frozen=True, slots=True)
class Backup:
    """What a backup holds, apart from the dump."""

    manifest: Mapping[str, Any]
    secrets: Mapping[str, str]
    settings: bytes | None


def write(target: Path, backup: Backup, dump: IO[bytes]) -> None:
    """Write it whole or not at all, mode 0600. Raises `Misconfigured` where there is a file of this name."""
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb") as file:
            with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
                _add(archive, "manifest.json", json.dumps(dict(backup.manifest), indent=1).encode())
                for name, value in backup.secrets.items():
                    _add(archive, f"secret/{name}", value.encode())
                if backup.settings is not None:
                    _add(archive, "settings.toml", backup.settings)
                dump.seek(0, os.SEEK_END)
                info = tarfile.TarInfo("database.dump")
                info.size, info.mode = dump.tell(), 0o600
                dump.seek(0)
                archive.addfile(info, dump)
            file.flush()
            os.fsync(file.fileno())
        os.link(part, target)  # unlike a rename it replaces nothing
    except FileExistsError:
        raise Misconfigured(f"{target} exists already: choose another name, or move it away.") from None
    except OSError as error:
        raise Misconfigured(f"The backup {target} cannot be written: {error.strerror}.") from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink()


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), 0o600
    archive.addfile(info, io.BytesIO(content))


def read(source: Path, dump: IO[bytes]) -> Backup:
    """Read a backup, and its dump into a file. Nothing is unpacked by the names in it. Raises `Misconfigured`."""
    secrets, settings, manifest, dumped = dict[str, str](), None, None, False
    try:
        with tarfile.open(source, "r:") as archive:
            for member in archive:
                file = archive.extractfile(member) if member.isfile() else None
                if file is None or (member.size > _SMALL and member.name != "database.dump"):
                    continue
                if member.name == "manifest.json":
                    manifest = json.loads(file.read())
                elif member.name == "settings.toml":
                    settings = file.read()
                elif _SECRET.fullmatch(member.name):
                    secrets[member.name.removeprefix("secret/")] = file.read().decode().strip()
                elif member.name == "database.dump":
                    while data := file.read(1 << 20):
                        dump.write(data)
                    dumped = True
    except OSError as error:
        raise Misconfigured(f"The backup {source} cannot be read: {error.strerror}.") from error
    except (tarfile.TarError, ValueError) as error:
        raise Misconfigured(f"{source} is not a backup of Dockyard, or is damaged: {error}.") from error
    if not isinstance(manifest, dict) or not dumped or "postgres" not in secrets:
        raise Misconfigured(f"{source} is not a whole backup of Dockyard.")
    if manifest.get("format") != FORMAT:
        raise Misconfigured(f"{source} has a format ({manifest.get('format')}) that this Dockyard does not know: use a newer one.")
    dump.seek(0)
    return Backup(manifest, secrets, settings)
