"""Real conda: a small channel, served over HTTP, is solved and installed by py-rattler in a sandbox."""

import hashlib
import io
import json
import tarfile
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import pytest
from aiohttp import web

from services.runtimes.local.steps.conda_install import channel_names, wanted
from services.runtimes.local.steps.said import Failure
from tests.gitrepo import Repo
from tests.gitserver import GitServer
from tests.services.runtimes.local.ground import Ground, ground

PYTHON = Path("/usr/bin/python3").resolve()  # what every sandbox sees
MINOR = PYTHON.name.removeprefix("python")


class Channel:
    """A channel of conda below a directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.packages: dict[str, object] = {}
        (root / "noarch").mkdir(parents=True)

    def add(
        self, name: str, version: str, files: Mapping[str, str], links: Mapping[str, str] | None = None, depends: tuple[str, ...] = ()
    ) -> None:
        """Add a package of text files and symbolic links."""
        index = {"name": name, "version": version, "build": "0", "build_number": 0, "depends": list(depends), "subdir": "noarch"}
        paths = [
            {"_path": path, "path_type": "hardlink", "sha256": hashlib.sha256(text.encode()).hexdigest(), "size_in_bytes": len(text)}
            for path, text in files.items()
        ] + [{"_path": path, "path_type": "softlink"} for path in links or {}]
        told = {"info/index.json": json.dumps(index), "info/paths.json": json.dumps({"paths": paths, "paths_version": 1})}
        data = io.BytesIO()
        with tarfile.open(fileobj=data, mode="w:bz2") as file:
            for path, text in {**files, **told}.items():
                member = tarfile.TarInfo(path)
                member.size = len(text)
                file.addfile(member, io.BytesIO(text.encode()))
            for path, target in (links or {}).items():
                member = tarfile.TarInfo(path)
                member.type, member.linkname = tarfile.SYMTYPE, target
                file.addfile(member)
        archive = f"{name}-{version}-0.tar.bz2"
        (self.root / "noarch" / archive).write_bytes(data.getvalue())
        self.packages[archive] = index | {
            "sha256": hashlib.sha256(data.getvalue()).hexdigest(), "md5": hashlib.md5(data.getvalue()).hexdigest(),
            "size": len(data.getvalue()),
        }
        for subdir in ("noarch", "linux-64", "linux-aarch64"):
            (self.root / subdir).mkdir(exist_ok=True)
            packages = self.packages if subdir == "noarch" else {}
            told_here = {"info": {"subdir": subdir}, "packages": packages, "packages.conda": {}, "repodata_version": 1}
            (self.root / subdir / "repodata.json").write_text(json.dumps(told_here))


@pytest.fixture(scope="module")
async def channel(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """The address of a server with the channel conda-forge."""
    root = tmp_path_factory.mktemp("channels")
    channel = Channel(root / "conda-forge")
    configuration = f"home = {PYTHON.parent}\ninclude-system-site-packages = false\n"
    links = {"bin/python": str(PYTHON), f"bin/python{MINOR}": "python"}
    channel.add("python", f"{MINOR}.0", {"pyvenv.cfg": configuration, f"lib/python{MINOR}/x": ""}, links)
    channel.add("pip", "1.0", {"share/pip": ""}, depends=("python",))
    channel.add("gdal", "3.1", {"share/gdal": "3.1"}, depends=("libgdal >=3",))
    channel.add("libgdal", "3.5", {"lib/libgdal.so": "x"})
    app = web.Application()
    app.router.add_static("/", root)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.2", 0).start()  # which no_proxy does not name
    yield f"http://127.0.0.2:{runner.addresses[0][1]}"
    await runner.cleanup()


@pytest.fixture(scope="module")
def conda_home(sandboxes: None, channel: str) -> Iterator[Ground]:
    """A home where conda answers: builds may connect to its server."""
    values = {"DOCKYARD_EGRESS_ALLOWED": channel.removeprefix("http://"), "DOCKYARD_LOCAL_CONDA": channel}
    with ground(**values) as found:
        yield found


@pytest.mark.skipif(not PYTHON.exists(), reason="the system has no Python, to which the channel's is a link")
async def test_an_environment_of_conda(conda_home: Ground, served: GitServer, repo: Repo) -> None:
    text = "channels: [conda-forge]\ndependencies:\n- gdal=3\n- python\n- pip: [tinyjupyter]\n"
    commit = repo.commit({"environment.yml": text, "x": "1"})
    built = await conda_home.build(conda_home.job(served.url(repo.path.name), commit))
    assert built.exit.ok, built.text + built.exit.reason
    venv = conda_home.workshop().images.open(built.job.image).environment.venv
    assert (venv / "share/gdal").read_text() == "3.1"
    assert (venv / "lib/libgdal.so").exists()
    assert list(venv.glob("lib/python3*/site-packages/tinyjupyter.py"))
    again = await conda_home.build(conda_home.job(served.url(repo.path.name), repo.commit({"x": "2"})))
    assert again.exit.facts["reused"] == "yes"


@pytest.mark.parametrize(("dependencies", "reason"), [
    ("[gdal=9]", "conda cannot solve environment.yml"),
    ("[nosuchthing]", "conda cannot solve environment.yml"),
])
async def test_what_conda_cannot_have(dependencies: str, reason: str, conda_home: Ground, served: GitServer, repo: Repo) -> None:
    commit = repo.commit({"environment.yml": f"channels: [conda-forge]\ndependencies: {dependencies}\n"})
    built = await conda_home.build(conda_home.job(served.url(repo.path.name), commit))
    assert built.exit.reason.startswith(reason), built.exit.reason + built.text


@pytest.mark.parametrize(("channels", "expected"), [
    ([], ["conda-forge"]), (["nodefaults", "conda-forge"], ["conda-forge"]), (["https://x.org/c"], ["https://x.org/c"]),
    (["defaults"], ["https://repo.anaconda.com/pkgs/main", "https://repo.anaconda.com/pkgs/r"]),
])
def test_channels(channels: list[str], expected: list[str]) -> None:
    assert channel_names(channels, "environment.yml") == expected


@pytest.mark.parametrize("channel_name", ["file:///etc", "/etc", "./x", "https://user:secret@x.org/c", "~/c"])
def test_channels_of_the_web_only(channel_name: str) -> None:
    with pytest.raises(Failure):
        channel_names([channel_name], "environment.yml")


@pytest.mark.parametrize(("specs", "expected"), [
    (["numpy"], ["numpy", "python 3.10.*", "pip"]),
    (["python=3.11", "pip"], ["python=3.11", "pip"]),
    (["conda-forge::python>=3.9"], ["conda-forge::python>=3.9", "pip"]),
])
def test_what_is_solved(specs: list[str], expected: list[str]) -> None:
    assert wanted(specs, "3.10") == expected
