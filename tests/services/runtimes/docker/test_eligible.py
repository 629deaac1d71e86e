"""When a commit may be one layer on its environment: every trap that is known, by name, and what must still be allowed."""

import os
from pathlib import Path

import pytest

from deploy.build.steps.eligible import judge

ALLOWED: dict[str, dict[str, str]] = {
    "nothing": {"a.ipynb": "{}"},
    "requirements": {"requirements.txt": "numpy==2.*\n# comment\npandas[excel]>=2 ; python_version > '3'\n"},
    "options": {"requirements.txt": "--extra-index-url https://example.org/simple\n--pre\n-e git+https://example.org/x.git#egg=x\nx @ https://example.org/x.whl\n"},
    "binder directory": {"binder/requirements.txt": "tqdm", "setup.py": "", "pyproject.toml": "", "Dockerfile": "FROM x"},
    "dot binder directory": {".binder/apt.txt": "tree", "postBuild": "#!/bin/sh"},
    "runtime": {"runtime.txt": "python-3.11\n"},
    "start": {"start": "#!/bin/sh\nexec \"$@\"\n", "requirements.txt": ""},
    "environment": {"environment.yml": "name: x\nchannels:\n  - conda-forge\ndependencies:\n  - python=3.11\n  - pip:\n    - tqdm\n"},
    "harmless attributes": {".gitattributes": "*.ipynb linguist-documentation\n"},
    "hidden directories": {".config/x": "", ".local/share/x": "", ".bashrc": "alias x=y"},
}
REFUSED: dict[str, tuple[dict[str, str], str]] = {
    "Dockerfile": ({"Dockerfile": "FROM x"}, "Dockerfile"),
    "Dockerfile in binder": ({"binder/Dockerfile": "FROM x"}, "Dockerfile"),
    "postBuild": ({"postBuild": "#!/bin/sh"}, "postBuild"),
    "postBuild in binder": ({"binder/postBuild": "#!/bin/sh"}, "postBuild"),
    "setup.py": ({"setup.py": ""}, "setup.py"),
    "pyproject": ({"pyproject.toml": "[project]"}, "pyproject"),
    "install.R": ({"install.R": ""}, "install.R"),
    "DESCRIPTION": ({"DESCRIPTION": ""}, "DESCRIPTION"),
    "R runtime": ({"runtime.txt": "r-4.2-2023-01-01"}, "runtime.txt"),
    "Nix": ({"default.nix": ""}, "nix"),
    "Julia": ({"Project.toml": ""}, "Julia"),
    "Julia REQUIRE": ({"REQUIRE": ""}, "Julia"),
    "Pipfile": ({"Pipfile": ""}, "Pipfile"),
    "lock": ({"Pipfile.lock": "{}"}, "Pipfile.lock"),
    "submodules": ({".gitmodules": ""}, "submodules"),
    "dockerignore": ({".dockerignore": "data"}, "dockerignore"),
    "containerignore": ({".containerignore": "data"}, "containerignore"),
    "LFS": ({".gitattributes": "*.bin filter=lfs diff=lfs merge=lfs -text\n"}, "gitattributes"),
    "line ends": ({"sub/.gitattributes": "*.txt eol=crlf\n"}, "gitattributes"),
    "ident": ({".gitattributes": "*.py ident\n"}, "gitattributes"),
    "both binders": ({"binder/a": "", ".binder/a": ""}, "both"),
    "whiteout": ({"data/.wh.x": ""}, ".wh."),
    "file for directory": ({".cache": "x"}, ".cache"),
    "directory for file": ({".bashrc/x": "x"}, ".bashrc"),
    "editable": ({"requirements.txt": "-e .\n"}, "requirements.txt"),
    "editable without space": ({"requirements.txt": "--editable=./x\n"}, "requirements.txt"),
    "nested": ({"requirements.txt": "-r other.txt\n"}, "requirements.txt"),
    "constraint": ({"requirements.txt": "numpy\n-c constraints.txt\n"}, "requirements.txt"),
    "path": ({"requirements.txt": "./pkg\n"}, "requirements.txt"),
    "bare path": ({"requirements.txt": "pkg/\n"}, "requirements.txt"),
    "wheel": ({"requirements.txt": "pkg-1.0-py3-none-any.whl\n"}, "requirements.txt"),
    "parent": ({"requirements.txt": "..\n"}, "requirements.txt"),
    "absolute": ({"requirements.txt": "/home/jovyan/pkg\n"}, "requirements.txt"),
    "file address": ({"requirements.txt": "pkg @ file:///home/jovyan/pkg\n"}, "requirements.txt"),
    "file address with git": ({"requirements.txt": "git+file:///home/jovyan#egg=x\n"}, "requirements.txt"),
    "continued line": ({"requirements.txt": "-r \\\nother.txt\n"}, "requirements.txt"),
    "local find-links": ({"requirements.txt": "--find-links wheels\n"}, "requirements.txt"),
    "unknown option": ({"requirements.txt": "--config-settings x=y\n"}, "requirements.txt"),
    "variable": ({"requirements.txt": "${HOME}/pkg\n"}, "requirements.txt"),
    "old requirements": ({"requirements3.txt": "-e .\n"}, "requirements3.txt"),
    "pip in environment": ({"environment.yml": "dependencies:\n- pip:\n  - -e .\n"}, "environment.yml"),
    "nested in environment": ({"environment.yml": "dependencies:\n- pip:\n  - -r requirements.txt\n"}, "environment.yml"),
    "path in environment": ({"environment.yml": "dependencies:\n- pip:\n  - ./x\n"}, "environment.yml"),
    "block in environment": ({"environment.yml": "dependencies:\n- pip:\n  - |\n    -e .\n"}, "environment.yml"),
    "prefix": ({"environment.yml": "prefix: /home/jovyan\n"}, "environment.yml"),
    "other name": ({"environment.yaml": ""}, "environment.yaml"),
}
RECIPE: dict[str, object] = {"base": "x"}


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize("name", ALLOWED)
def test_allowed(name: str, tmp_path: Path) -> None:
    found = judge(write(tmp_path, ALLOWED[name]), RECIPE)
    assert found.against == ""
    assert len(found.key) == 64


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str, tmp_path: Path) -> None:
    files, word = REFUSED[name]
    found = judge(write(tmp_path, files), RECIPE)
    assert word in found.against
    assert found.key == ""
    assert found.why.startswith("This commit is built as a whole: ")


def test_links_in_the_place_of_inputs_are_refused(tmp_path: Path) -> None:
    (tmp_path / "real.txt").write_text("numpy")
    (tmp_path / "requirements.txt").symlink_to("real.txt")
    assert "ordinary" in judge(tmp_path, RECIPE).against
    other = tmp_path / "other"
    (other / "hidden").mkdir(parents=True)
    (other / "binder").symlink_to("hidden")
    assert "symbolic" in judge(other, RECIPE).against


def test_names_and_files_that_are_not_utf8_are_refused(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_bytes(b"caf\xe9")
    assert "UTF-8" in judge(tmp_path, RECIPE).against
    (tmp_path / "requirements.txt").unlink()
    with open(os.fsencode(tmp_path) + b"/\xff", "w"):
        pass
    assert "UTF-8" in judge(tmp_path, RECIPE).against


def test_an_appendix_and_further_arguments_stand_against_it(tmp_path: Path) -> None:
    assert "appendix" in judge(tmp_path, RECIPE, appendix="RUN touch /home/jovyan/x").against
    assert "arguments" in judge(tmp_path, RECIPE, arguments=("--subdir=x",)).against
    assert judge(tmp_path, RECIPE, arguments=("--cache-from=x",)).against == ""


def test_the_key_follows_from_what_the_environment_is_made_of_and_nothing_else(tmp_path: Path) -> None:
    files = {"requirements.txt": "tqdm\n", "a.ipynb": "1"}
    key = judge(write(tmp_path / "a", files), RECIPE).key
    assert judge(write(tmp_path / "b", files | {"a.ipynb": "2", "data/x": "y"}), RECIPE).key == key
    others = [
        judge(write(tmp_path / "c", files | {"requirements.txt": "tqdm \n"}), RECIPE).key,
        judge(write(tmp_path / "d", files | {"apt.txt": ""}), RECIPE).key,
        judge(write(tmp_path / "e", {"binder/requirements.txt": "tqdm\n"}), RECIPE).key,
        judge(write(tmp_path / "f", files), {"base": "y"}).key,
        judge(write(tmp_path / "g", {"a.ipynb": "1"}), RECIPE).key,
    ]
    assert len({key, *others}) == 6
