"""`up` as a whole: it comes up, refuses a second one, mends itself, and leaves nothing, however it ends."""

import asyncio
import json
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from bench.ports import free_ports
from tests.processes import kill, listening, told_of, words

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 240.0


class Up:
    """One `up`, and everything that belongs to its home."""

    def __init__(self, home: Path, port: int, runtime: str = "fake", **environ: str) -> None:
        self.home, self.port, self.runtime, self.environ, self.said = home, port, runtime, environ, list[str]()

    async def start(self) -> None:
        environ = {name: value for name, value in os.environ.items() if not name.startswith(("DOCKYARD_", "PYTEST_"))}
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "cli", "up", "--home", str(self.home), "--port", str(self.port), "--runtime", self.runtime, cwd="/",
            env=environ | {"PYTHONPATH": str(ROOT), "DOCKYARD_PROVIDERS_TIMEOUT": "120"} | self.environ, start_new_session=True,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )

    async def hear(self, words: str) -> str:
        """Read on until a line has these words."""
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            while line := (await self.process.stdout.readline()).decode():
                self.said.append(line)
                if words in line:
                    return line
        raise AssertionError(f"{words!r} was not said, but:\n{''.join(self.said)}")

    async def end(self) -> int:
        async with asyncio.timeout(PATIENCE):
            await self.process.communicate()
        assert self.process.returncode is not None
        return self.process.returncode

    def processes(self) -> list[psutil.Process]:
        """All that run for this home: by their environment or their words."""
        return told_of(self.home)

    def part(self, name: str) -> psutil.Process:
        """The process of one of its parts, which has written it down: a look at all could find a part's child that has no words yet."""
        return psutil.Process(json.loads((self.home / "run" / "pids" / name).read_text())["pid"])

    async def nothing_is_left(self) -> None:
        async with asyncio.timeout(PATIENCE):
            while self.processes():
                await asyncio.sleep(0.05)


@pytest.fixture
def home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="dockyard-test-", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o711)
        yield Path(name) / "home"


@pytest.fixture
async def up(home: Path, request: pytest.FixtureRequest) -> AsyncIterator[Up]:
    made = Up(home, free_ports(), getattr(request, "param", "fake"))
    await made.start()
    try:
        yield made
    finally:
        if made.process.returncode is None:
            made.process.send_signal(signal.SIGTERM)
        try:
            await made.end()
        except TimeoutError:
            kill(made.process.pid)
            raise
    await made.nothing_is_left()


@pytest.mark.slow
@pytest.mark.parametrize("up", ["local"], indirect=True)
async def test_the_life_of_an_up(up: Up) -> None:
    await up.hear("Dockyard is up")
    address = f"http://127.0.0.1:{up.port}/"
    async with httpx.AsyncClient(timeout=120) as client:
        async with asyncio.timeout(PATIENCE):  # each check has three seconds, and a bad answer is looked for anew
            while (await client.get(f"{address}health")).status_code != 200:
                await asyncio.sleep(0.5)
        ops = await up.hear("operations:")
        assert f"{address}ops#token=" in ops

        # Two listeners, and no secret in a command line that anybody can read.
        tree = up.processes()
        assert set().union(*map(listening, tree)) == {("127.0.0.1", up.port), ("127.0.0.1", up.port + 1)}
        secrets = [path.read_text() for path in (up.home / "secret").iterdir()]
        assert secrets
        assert not [word for process in tree for word in words(process) for secret in secrets if secret in word]

        # Another on the same home, and another on the same port.
        for home, sentence in ((up.home, "Dockyard is running on the home"), (up.home.with_name("other"), f"Port {up.port} (the")):
            other = Up(home, up.port)
            await other.start()
            out, _ = await other.process.communicate()
            assert other.process.returncode == 1
            assert out.decode().startswith(sentence), out
            assert len(out.splitlines()) == 1

        # A part that crashes comes back.
        api = up.part("api")
        assert words(api)[-1:] == ["api"]
        api.kill()
        await up.hear("api        was ended by SIGKILL; it is started again in 0.5 s")
        await up.hear("api        ready again")
        assert (await client.get(f"{address}livez")).status_code == 200
    up.process.send_signal(signal.SIGTERM)
    assert await up.end() == 0
    await up.nothing_is_left()


@pytest.mark.slow
async def test_an_up_that_was_killed_leaves_nothing_to_the_next(up: Up) -> None:
    await up.hear("Dockyard is up")
    up.process.kill()
    await up.end()
    again = Up(up.home, up.port)
    await again.start()
    try:
        await again.hear("Dockyard is up")
        again.process.send_signal(signal.SIGHUP)
        assert await again.end() == 0
    except BaseException:
        kill(again.process.pid)
        await again.end()
        raise
    await up.nothing_is_left()


@pytest.mark.slow
async def test_an_up_that_is_interrupted_while_it_starts_stops(up: Up) -> None:
    await up.hear("ready")
    up.process.send_signal(signal.SIGINT)
    assert await up.end() == 0
    await up.nothing_is_left()
