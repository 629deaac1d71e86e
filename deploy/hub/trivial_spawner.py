"""A spawner for tests and load: each user gets a tiny process that answers like a server, started in 20 ms.

It is a real Spawner that really starts a process, so a hub with it behaves as in earnest: the process outlives a killed
hub and is found again. What goes wrong is asked for in the launch's own options, all of them optional:

    delay     seconds until the process is started (the spawn is pending so long)
    fail      the sentence that the start fails with, after the delay
    again     "yes": another attempt could help
    vanished  "yes": because the image is gone
    slow      seconds that the started process takes to answer
    held      a path: the process is not started before there is a file
    mute      a path: nor does the started process answer before there is one
    steps     how many progress messages are sent
"""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from jupyterhub.spawner import Spawner
from traitlets import Unicode

from deploy.hub.binder import option
from deploy.hub.failure import BROKEN, UNLUCKY, VANISHED, StartFailed
from deploy.hub.unix_socket import OnUnixSocket, socket_url


def born(pid: int) -> int:
    """When the process was started, in clock ticks since boot; 0 if it does not run (a zombie does not). proc(5)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] in "ZX" else int(fields[19])


class TrivialSpawner(OnUnixSocket, Spawner):  # type: ignore[misc]  # JupyterHub has no types
    """Starts `trivial_server.py`."""

    directory = Unicode(config=True, help="Directory of the sockets.")
    pid = 0
    ticks = 0

    @property
    def socket(self) -> Path:
        """Where the server listens."""
        return Path(self.directory) / f"{self.user.name}.sock"

    async def start(self) -> str:
        """Start the process; the hub waits until it answers."""
        await asyncio.sleep(float(self.user_options.get("delay", 0)))
        held = option(self.user_options, "held")
        while held and not Path(held).exists():  # noqa: ASYNC110, ASYNC240  # another process
            await asyncio.sleep(0.01)
        if sentence := option(self.user_options, "fail"):
            verdict = VANISHED if option(self.user_options, "vanished") else BROKEN
            raise StartFailed(sentence, UNLUCKY if option(self.user_options, "again") else verdict)
        self.socket.unlink(missing_ok=True)
        program = str(Path(__file__).with_name("trivial_server.py"))
        # Not asyncio's subprocess, which kills the process when its transport is forgotten.
        self.pid = os.posix_spawn(  # noqa: ASYNC221  # returns at once
            sys.executable, [sys.executable, "-I", "-S", program, str(self.socket), self.server.base_url,
             str(float(self.user_options.get("slow", 0))), option(self.user_options, "mute")],
            {"JUPYTER_TOKEN": option(self.user_options, "token")}, setsid=True,
        )
        self.ticks = born(self.pid)
        url = socket_url(self.socket)
        self.keep(url)
        while not self.socket.exists() and born(self.pid):  # noqa: ASYNC110  # another process
            await asyncio.sleep(0.005)
        return url

    async def progress(self) -> AsyncIterator[dict[str, Any]]:
        """As many messages as were asked for."""
        for step in range(int(self.user_options.get("steps", 1))):
            yield {"progress": 10, "message": f"Step {step + 1}."}

    async def poll(self) -> int | None:
        """None while the process runs."""
        if not self.pid:
            return 0
        with contextlib.suppress(ChildProcessError):  # an earlier hub's child is not ours to reap
            os.waitpid(self.pid, os.WNOHANG)  # noqa: ASYNC222
        return None if born(self.pid) == self.ticks else 0

    async def stop(self, now: bool = False) -> None:
        """End the process."""
        if await self.poll() is None:
            os.kill(self.pid, signal.SIGKILL)
            while await self.poll() is None:  # noqa: ASYNC110  # another process
                await asyncio.sleep(0.005)
        for path in (self.socket, self.socket.with_suffix(".pid")):
            path.unlink(missing_ok=True)

    def get_state(self) -> dict[str, Any]:
        """The process, so that a restarted hub finds it."""
        return dict(super().get_state()) | ({"pid": self.pid, "ticks": self.ticks} if self.pid else {})

    def load_state(self, state: dict[str, Any]) -> None:
        """Find the process of `get_state`."""
        super().load_state(state)
        self.pid, self.ticks = state.get("pid", 0), state.get("ticks", 0)

    def clear_state(self) -> None:
        """Forget the process."""
        super().clear_state()
        self.pid = self.ticks = 0
