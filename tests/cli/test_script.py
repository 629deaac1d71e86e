"""The entry script on a checkout of its own, with a lock of one small wheel and no index."""

import asyncio
import base64
import hashlib
import os
import shutil
import signal
import sys
import zipfile
from pathlib import Path

import pytest
import uv

ROOT = Path(__file__).resolve().parents[2]
SAYS = "import sys, tiny\nprint(tiny.VERSION, *sys.argv[1:])\n"


def wheel(directory: Path, version: str) -> str:
    """Make a wheel of the package `tiny`; returns its line of a lock."""
    directory.mkdir(exist_ok=True)
    path, info = directory / f"tiny-{version}-py3-none-any.whl", f"tiny-{version}.dist-info"
    files = {
        "tiny.py": f"VERSION = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: tiny\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = ""
    for name, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        record += f"{name},sha256={digest},{len(text)}\n"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in (files | {f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}).items():
            archive.writestr(name, text)
    return f"tiny=={version} \\\n    --hash=sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}\n"


class Checkout:
    """A copy of what the script needs."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.wheels = directory, directory.with_name("wheels")
        (directory / "cli").mkdir(parents=True)
        shutil.copy(ROOT / "dockyard", directory)
        shutil.copy(ROOT / "cli/install.py", directory / "cli")
        (directory / "cli/__init__.py").touch()
        (directory / "cli/__main__.py").write_text(SAYS)
        self.lock("1.0")
        tools = directory.with_name("tools")
        tools.mkdir()
        (tools / "uv").symlink_to(uv.find_uv_bin())
        (tools / "python3").symlink_to(sys.executable)
        self.environ = {
            "PATH": f"{tools}:/usr/bin:/bin", "HOME": str(directory.with_name("home")), "DOCKYARD_PYTHON": sys.executable,
            "DOCKYARD_HOME": str(directory.with_name("state")), "UV_FIND_LINKS": str(self.wheels), "UV_OFFLINE": "1",
            "UV_NO_CONFIG": "1", "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(self.wheels),
        }

    def lock(self, version: str) -> None:
        text = wheel(self.wheels, version)
        for name in ("requirements.txt", "requirements-dev.txt"):
            (self.directory / name).write_text(text)

    async def start(self, *words: str, script: Path | None = None, **environ: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            script or self.directory / "dockyard", *words, cwd="/", env=self.environ | environ, start_new_session=True,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )

    async def run(self, *words: str, script: Path | None = None, **environ: str) -> tuple[int, str, str]:
        process = await self.start(*words, script=script, **environ)
        out, err = await process.communicate()
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path / "checkout")


async def test_first_use_installs_and_the_second_does_not(checkout: Checkout, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to("checkout/dockyard")
    status, out, err = await checkout.run("status", "a b", script=link)
    assert (status, out) == (0, "1.0 status a b\n"), err
    assert "Installing" in err
    assert await checkout.run("status") == (0, "1.0 status\n", "")


async def test_a_changed_lock_is_installed(checkout: Checkout) -> None:
    await checkout.run("status")
    checkout.lock("2.0")
    status, out, err = await checkout.run("status")
    assert (status, out) == (0, "2.0 status\n"), err


async def test_a_wrong_hash_is_refused(checkout: Checkout) -> None:
    lock = checkout.directory / "requirements.txt"
    lock.write_text(lock.read_text()[:-2] + ("1" if lock.read_text()[-2] != "1" else "2") + "\n")
    status, out, err = await checkout.run("status")
    assert (status, out) == (1, "")
    assert "could not be installed; the whole log is" in err
    assert "Traceback" not in err


async def test_two_first_uses_at_once(checkout: Checkout) -> None:
    results = await asyncio.gather(checkout.run("one"), checkout.run("two"))
    assert [result[:2] for result in results] == [(0, "1.0 one\n"), (0, "1.0 two\n")]
    assert sum("Installed in" in err for _, _, err in results) == 1


async def test_an_interrupted_installation_is_made_anew(checkout: Checkout, tmp_path: Path) -> None:
    slow = tmp_path / "slow"
    slow.mkdir()
    (slow / "uv").write_text(f"#!/bin/sh\nmkdir -p {checkout.directory}/.venv/rubbish\necho > {slow}/begun\nexec sleep 300\n")
    (slow / "uv").chmod(0o755)
    process = await checkout.start("status", PATH=f"{slow}:{checkout.environ['PATH']}")
    try:
        async with asyncio.timeout(120):
            while not (slow / "begun").exists():
                await asyncio.sleep(0.01)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        await process.communicate()
    status, out, err = await checkout.run("status")
    assert (status, out) == (0, "1.0 status\n"), err
    assert not (checkout.directory / ".venv/rubbish").exists()


async def test_an_old_python_is_refused_in_a_sentence(checkout: Checkout, tmp_path: Path) -> None:
    tools = tmp_path / "old"
    tools.mkdir()
    for name in ("sh", "readlink", "dirname", "id", "cmp"):
        found = shutil.which(name)
        assert found
        (tools / name).symlink_to(found)
    (tools / "python3").write_text("#!/bin/sh\ncase $2 in *exit*) exit 1;; esac\necho 3.9.2\n")
    (tools / "python3").chmod(0o755)
    status, out, err = await checkout.run("status", PATH=str(tools), DOCKYARD_PYTHON="")
    assert (status, out) == (1, "")
    assert err == (
        "Dockyard needs Python 3.11 or newer (python3 is 3.9.2): install it, or name one in DOCKYARD_PYTHON.\n"
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
async def test_a_checkout_that_cannot_be_written_installs_into_the_home(checkout: Checkout, tmp_path: Path) -> None:
    checkout.directory.chmod(0o500)
    try:
        status, out, err = await checkout.run("status")
    finally:
        checkout.directory.chmod(0o700)
    assert (status, out) == (0, "1.0 status\n"), err
    assert (tmp_path / "state/venv/bin/python").exists()
