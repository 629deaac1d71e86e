"""Detection, held against the installed repo2docker."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from services.runtimes.local.interpreters import REPO2DOCKER_DEFAULT
from services.runtimes.local.steps.detect import detect
from services.runtimes.local.steps.said import Failure

ENV = "dependencies:\n- python=3.11\n- numpy\n"
PYPROJECT = '[project]\nname = "x"\nversion = "1"\n[build-system]\nrequires = ["setuptools"]\n'

# Files of a repository -> what repo2docker chooses: its build pack, the directory, the version of Python, scripts.
REPOSITORIES: list[dict[str, str]] = [
    {},
    {"README.md": ""},
    {"requirements.txt": "numpy\n"},
    {"binder/requirements.txt": "numpy\n"},
    {".binder/requirements.txt": "numpy\n"},
    {"binder/x": "", "requirements.txt": "numpy\n"},
    {"binder/x": "", ".binder/x": ""},
    {"environment.yml": ENV},
    {"environment.yaml": ENV},
    {"environment.yml": ENV, "requirements.txt": "numpy\n"},
    {"environment.yml": "dependencies:\n- numpy\n", "runtime.txt": "python-3.12"},
    {"binder/environment.yml": ENV, "requirements.txt": "numpy\n"},
    {"Pipfile": "[packages]\nnumpy = '*'\n"},
    {"Pipfile": "[requires]\npython_version = '3.11'\n[packages]\n"},
    {"Pipfile.lock": '{"_meta": {"requires": {"python_version": "3.12"}}, "default": {}}'},
    {"Pipfile": "[requires]\npython_full_version = '3.11.2'\n", "requirements.txt": "x"},
    {"Pipfile": "", "runtime.txt": "python-3.9"},
    {"setup.py": ""},
    {"setup.py": "", "requirements.txt": "numpy\n"},
    {"setup.py": "", "binder/requirements.txt": "numpy\n"},
    {"pyproject.toml": PYPROJECT},
    {"pyproject.toml": "[project]\nname = 'x'\n"},
    {"pyproject.toml": "[tool.black]\n"},
    {"pyproject.toml": PYPROJECT, "binder/requirements.txt": ""},
    {"pyproject.toml": PYPROJECT.replace("version", 'requires-python = ">=3.12"\nversion')},
    {"runtime.txt": "python-3.11"},
    {"runtime.txt": "python-3"},
    {"runtime.txt": "python-3.11", "requirements.txt": "x"},
    {"binder/runtime.txt": "python-3.11", "runtime.txt": "python-3.12"},
    {"runtime.txt": "nonsense"},
    {"runtime.txt": "r-4.1", "requirements.txt": "x"},
    {"runtime.txt": "r-2024-01-01"},
    {"runtime.txt": "r-4.1-2024-01-01"},
    {"DESCRIPTION": ""},
    {"DESCRIPTION": "", "binder/requirements.txt": "x"},
    {"install.R": ""},
    {"Project.toml": ""},
    {"JuliaProject.toml": ""},
    {"REQUIRE": ""},
    {"default.nix": ""},
    {"Dockerfile": "FROM scratch"},
    {"Dockerfile": "FROM scratch", "environment.yml": ENV},
    {"binder/Dockerfile": "FROM scratch"},
    {"Dockerfile": "FROM scratch", "binder/requirements.txt": "x"},
    {"postBuild": "", "start": "", "requirements.txt": "x"},
    {"binder/postBuild": "", "start": "", "requirements.txt": "x"},
    {"apt.txt": "tree\n"},
    {"apt.txt": "# nothing\n\n"},
]

# Asks the real classes, in the order of the real application. One process for each repository: they cache per process.
ASK = """
import json, os, sys, logging
logging.disable(logging.CRITICAL)
from repo2docker.app import Repo2Docker
app = Repo2Docker()
try:
    pack = next((p for cls in app.buildpacks if (p := cls("base")).detect()), None) or app.default_buildpack("base")
    pack.platform = "linux/amd64"
    name = type(pack).__name__
    told = {"pack": name, "binder": pack.binder_dir, "post": pack.get_post_build_scripts(), "start": pack.get_start_script() or ""}
    if name in ("PythonBuildPack", "CondaBuildPack", "PipfileBuildPack"):
        told["python"] = pack.python_version
        told["package"] = bool(getattr(pack, "_is_python_package", lambda: False)())
except Exception as error:
    told = {"error": str(error)}
print(json.dumps(told))
"""


def write(tree: Path, files: dict[str, str]) -> Path:
    tree.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(text)
    return tree


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What repo2docker says to each repository, asked in one process that forks for each."""
    root = tmp_path_factory.mktemp("repositories")
    trees = [str(write(root / str(number), files)) for number, files in enumerate(REPOSITORIES)]
    program = (
        "import os, sys\nimport repo2docker.app\nfor tree in sys.argv[1:]:\n    sys.stdout.flush()\n    pid = os.fork()\n"
        f"    if not pid:\n        os.chdir(tree); exec({ASK!r}); sys.stdout.flush(); os._exit(0)\n    os.waitpid(pid, 0)\n"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program, *trees], capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("number", range(len(REPOSITORIES)), ids=lambda number: "+".join(REPOSITORIES[number]) or "empty")
def test_detection_is_that_of_repo2docker(number: int, answers: list[dict[str, Any]], tmp_path: Path) -> None:
    theirs = answers[number]
    kinds = {"PythonBuildPack": "python", "CondaBuildPack": "conda", "PipfileBuildPack": "pipfile"}
    tree = write(tmp_path / "tree", REPOSITORIES[number])
    if "error" in theirs or theirs["pack"] not in kinds or "tree" in REPOSITORIES[number].get("apt.txt", ""):
        with pytest.raises(Failure) as failure:
            detect(tree)
        assert failure.value.reason.endswith((".", "'."))
        return
    ours = detect(tree)
    assert (ours.kind, ours.binder_dir) == (kinds[theirs["pack"]], theirs["binder"])
    assert ([ours.post_build] if ours.post_build else []) == theirs["post"]
    assert ("${REPO_DIR}/" + ours.start if ours.start else "") == theirs["start"]
    if ours.kind != "conda" and not ours.requires_python:
        assert (ours.python or REPO2DOCKER_DEFAULT) == theirs["python"]
    assert ours.package == theirs["package"]


def test_the_default_python_is_that_of_repo2docker() -> None:
    code = "from repo2docker.buildpacks.conda import CondaBuildPack; print(CondaBuildPack.major_pythons['3'])"
    assert subprocess.check_output([sys.executable, "-W", "ignore", "-c", code], text=True).strip() == REPO2DOCKER_DEFAULT


@pytest.mark.parametrize(("files", "words"), [
    ({"Dockerfile": "FROM x"}, "Dockerfile"),
    ({"binder/apt.txt": "tree\nless\n"}, "binder/apt.txt asks for system packages (tree, less)"),
    ({"Project.toml": ""}, "no Julia"),
    ({"default.nix": ""}, "no Nix"),
    ({"DESCRIPTION": ""}, "no R"),
])
def test_what_cannot_be_built_names_the_runtime_that_can(files: dict[str, str], words: str, tmp_path: Path) -> None:
    with pytest.raises(Failure) as failure:
        detect(write(tmp_path, files))
    assert words in failure.value.reason
    assert "docker" in failure.value.hint


def test_what_leads_out_of_the_repository_is_absent(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("numpy\n")
    tree = write(tmp_path / "tree", {"README": ""})
    for name in ("environment.yml", "postBuild", "runtime.txt", "Dockerfile"):
        os.symlink(tmp_path / "secret", tree / name)
    found = detect(tree)
    assert (found.kind, found.post_build, found.python) == ("python", "", "")
