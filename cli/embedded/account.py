"""Who runs what when Dockyard is started as root.

As root the database refuses to run and nothing that strangers talk to should; those parts run as the system account
`dockyard`, made on first use. An ordinary user runs everything as itself, and `service_account` is None.
"""

import grp
import os
import pwd
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.errors import Misconfigured

NAME = "dockyard"


@dataclass(frozen=True, slots=True)
class Account:
    """An account to run as."""

    name: str
    uid: int
    gid: int

    def own(self, *paths: Path) -> None:
        """Give it these files or directories."""
        for path in paths:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)


def identity(account: Account | None) -> dict[str, Any]:
    """The arguments with which `subprocess` starts something as this account."""
    return {} if account is None else {"user": account.uid, "group": account.gid, "extra_groups": []}


def service_account() -> Account | None:
    """The account of the unprivileged parts; None when not root. `Misconfigured` if it cannot be made."""
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam(NAME)
    except KeyError:
        _create()
        entry = pwd.getpwnam(NAME)
    if entry.pw_uid == 0:
        raise Misconfigured(f"The account {NAME} has the user id of root; give it another.")
    return Account(NAME, entry.pw_uid, entry.pw_gid)


def _create() -> None:
    useradd = shutil.which("useradd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    command = [useradd, "--system", "--no-create-home", "--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin"]
    try:
        grp.getgrnam(NAME)
    except KeyError:
        command.append("--user-group")
    else:
        command += ["--gid", NAME]
    if useradd is not None:
        made = subprocess.run([str(word) for word in (*command, NAME)], capture_output=True, text=True, check=False)
        if made.returncode == 0:
            return
    problem = "there is no useradd" if useradd is None else made.stderr.strip()
    raise Misconfigured(
        f"Started as root, Dockyard runs its database as the account {NAME}, which could not be made ({problem}): "
        f"create it, or start Dockyard as an ordinary user."
    )


def allowed(path: Path, account: Account, wanted: int) -> bool:
    """Whether the mode of this one file grants the account `wanted` (4 read, 2 write, 1 search)."""
    try:
        found = path.stat()
    except OSError:
        return False
    shift = 6 if found.st_uid == account.uid else 3 if found.st_gid == account.gid else 0
    return (stat.S_IMODE(found.st_mode) >> shift) & wanted == wanted


def barrier(path: Path, account: Account) -> Path | None:
    """The outermost directory on the way to `path` (links resolved) that the account cannot pass; None if none.

    Looks at modes, not at access lists or security modules.
    """
    target = path.resolve()
    for parent in reversed(target.parents):
        if not allowed(parent, account, 1):
            return parent
    return None if allowed(target, account, 5 if target.is_dir() else 4) else target
