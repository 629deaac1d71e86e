"""A real docker-registry on loopback. For benches too, so it knows nothing of pytest."""

import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.ports import free_port
from tests import processes

PROGRAM = shutil.which("docker-registry")


class RegistryServer:
    """One registry process; its files stay between `stop` and `start`."""

    def __init__(self, directory: Path, auth: str = "", address: str = "127.0.0.1") -> None:
        self.port, self.address = free_port(address), address
        self.url = f"http://{address}:{self.port}"
        self.host = f"{address}:{self.port}"
        directory.mkdir(parents=True, exist_ok=True)
        self._log = directory / "registry.log"
        self._config = directory / "registry.yml"
        self._config.write_text(
            f"version: 0.1\nlog: {{level: warn}}\nstorage: {{filesystem: {{rootdirectory: {directory}/data}}, delete: {{enabled: true}}}}\n"
            f"http: {{addr: '{address}:{self.port}'}}\n{auth}")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        assert PROGRAM
        with self._log.open("ab") as log:
            self._process = subprocess.Popen([PROGRAM, "serve", str(self._config)], stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        processes.minded.add(self._process.pid)  # `registry` ends it
        deadline = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(f"{self.url}/v2/", timeout=60).close()
                return
            except urllib.error.HTTPError as error:
                error.close()
                return
            except OSError:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    raise AssertionError(self._log.read_text()) from None
                time.sleep(0.02)

    def stop(self) -> None:
        if self._process:
            self._process.terminate()
            self._process.wait()
            self._process = None


@contextmanager
def registry(directory: Path, auth: str = "", address: str = "127.0.0.1") -> Iterator[RegistryServer]:
    server = RegistryServer(directory, auth, address)
    try:
        server.start()
        yield server
    finally:
        server.stop()
