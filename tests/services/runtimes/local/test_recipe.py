"""Keys: what makes a new environment, and what does not; and the sentences about it."""

import json
from pathlib import Path
from typing import Any

import pytest

from services.errors import BuildFailed
from services.runtimes.local.recipe import Recipe
from services.runtimes.local.steps.plan import plan
from services.runtimes.local.steps.said import Failure

PYTHONS, DEFAULT = ["3.10.4", "3.11.7", "3.12.1"], ("3.11.7", "Python version unspecified.")
JUPYTER = ["jupyterlab==4.*"]
TREE = "a" * 40
PACKAGE = '[project]\nname = "x"\nversion = "1"\n[build-system]\nrequires = []\n'


def recipe(tree: Path, files: dict[str, str], commit_tree: str = TREE) -> Recipe:
    for name, text in files.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(text)
    return Recipe.read({**plan(PYTHONS, DEFAULT, tree), "tree": commit_tree})


def keys(tmp_path: Path, *repositories: dict[str, str]) -> list[str]:
    return [recipe(tmp_path / str(n), files, str(n) * 40).key(JUPYTER) for n, files in enumerate(repositories)]


@pytest.mark.parametrize(("one", "other"), [
    ({"requirements.txt": "numpy\n", "a.ipynb": "1"}, {"requirements.txt": "numpy\n", "a.ipynb": "2"}),
    ({"requirements.txt": "numpy\n"}, {"requirements.txt": "# why\n  numpy   \n\n"}),
    ({"requirements.txt": "numpy\n"}, {"binder/requirements.txt": "numpy\n", "setup.py": ""}),
    ({"requirements.txt": "-r a.txt\n", "a.txt": "numpy"}, {"requirements.txt": "numpy\n"}),
    ({"requirements.txt": "numpy", "start": "x"}, {"requirements.txt": "numpy", "start": "y"}),
    ({}, {"README.md": "x"}),
    ({}, {"runtime.txt": "python-3.11"}),
    ({"Pipfile": "[packages]\nnumpy = '*'"}, {"requirements.txt": "numpy"}),
])
def test_the_same_environment(one: dict[str, str], other: dict[str, str], tmp_path: Path) -> None:
    first, second = keys(tmp_path, one, other)
    assert first == second


@pytest.mark.parametrize(("one", "other"), [
    ({"requirements.txt": "numpy\n"}, {"requirements.txt": "numpy\npandas\n"}),
    ({"requirements.txt": "numpy\n"}, {"requirements.txt": "numpy<2\n"}),
    ({"requirements.txt": "numpy\n"}, {}),
    ({"requirements.txt": "numpy"}, {"requirements.txt": "numpy", "runtime.txt": "python-3.12"}),
    ({"requirements.txt": "-c c.txt\nnumpy", "c.txt": "numpy<2"}, {"requirements.txt": "-c c.txt\nnumpy", "c.txt": "numpy<3"}),
    ({"requirements.txt": "numpy"}, {"requirements.txt": "--pre\nnumpy"}),
    ({"requirements.txt": "numpy"}, {"requirements.txt": "-i https://x.org/simple\nnumpy"}),
    # What reads the content is new with every tree.
    ({"setup.py": ""}, {"setup.py": ""}),
    ({"pyproject.toml": PACKAGE}, {"pyproject.toml": PACKAGE}),
    ({"postBuild": "x"}, {"postBuild": "x"}),
    ({"requirements.txt": "-e ."}, {"requirements.txt": "-e ."}),
    ({"requirements.txt": "./pkg", "pkg/setup.py": ""}, {"requirements.txt": "./pkg", "pkg/setup.py": ""}),
])
def test_another_environment(one: dict[str, str], other: dict[str, str], tmp_path: Path) -> None:
    first, second = keys(tmp_path, one, other)
    assert first != second


def test_jupyter_and_the_order_of_its_requirements(tmp_path: Path) -> None:
    found = recipe(tmp_path, {})
    assert found.key(["a", "b"]) == found.key(["b", "a"]) != found.key(["a"])
    assert found.empty
    assert not recipe(tmp_path, {"requirements.txt": "x"}).empty


@pytest.mark.parametrize(("files", "sentence"), [
    ({"setup.py": ""}, "Building a new environment: setup.py is installed from the repository, so every commit needs its own."),
    ({"binder/postBuild": ""}, "Building a new environment: binder/postBuild runs in it, so every commit needs its own."),
    ({"requirements.txt": "x"}, "Building a new environment: requirements.txt says what is in it."),
    ({"requirements.txt": "-r a.txt\nx", "a.txt": "y"}, "Building a new environment: a.txt and requirements.txt say what is in it."),
    ({}, "Building a new environment: The repository asks for nothing but Jupyter."),
])
def test_the_log_says_why(files: dict[str, str], sentence: str, tmp_path: Path) -> None:
    assert recipe(tmp_path, files).told(exists=False) == sentence


@pytest.mark.parametrize(("files", "version"), [
    ({}, "3.11.7"),
    ({"runtime.txt": "python-3.12"}, "3.12.1"),
    ({"runtime.txt": "python-3.12.1"}, "3.12.1"),
    ({"environment.yml": "dependencies:\n- python=3.10"}, "3.10.4"),
    ({"Pipfile": "[requires]\npython_version = '3.12'"}, "3.12.1"),
    ({"pyproject.toml": "[project]\nrequires-python = '>=3.12'"}, "3.12.1"),
    ({"pyproject.toml": "[project]\nrequires-python = '>=3.9'"}, "3.11.7"),
])
def test_python(files: dict[str, str], version: str, tmp_path: Path) -> None:
    assert recipe(tmp_path, files).python == version


@pytest.mark.parametrize(("files", "words"), [
    ({"runtime.txt": "python-3.7"}, "runtime.txt asks for Python 3.7, which is not installed on this machine; it has 3.10, 3.11, 3.12."),
    ({"pyproject.toml": "[project]\nrequires-python = '>=3.14'"}, "pyproject.toml asks for Python >=3.14, and none such is installed"),
    ({"runtime.txt": "python-3.10", "pyproject.toml": "[project]\nrequires-python = '>=3.12'"}, "they exclude each other"),
])
def test_a_python_that_is_not_here(files: dict[str, str], words: str, tmp_path: Path) -> None:
    with pytest.raises(Failure) as failure:
        recipe(tmp_path, files)
    assert words in failure.value.reason


def test_only_conda_has_it(tmp_path: Path) -> None:
    found = recipe(tmp_path, {"environment.yml": "dependencies:\n- gdal\n- numpy\n"})
    with pytest.raises(BuildFailed, match=r"environment\.yml asks for gdal, which only conda has"):
        found.with_index()


def test_a_recipe_survives_its_file(tmp_path: Path) -> None:
    found = recipe(tmp_path, {"requirements.txt": "-i https://x.org/s\nnumpy==1", "postBuild": ""})
    assert Recipe.load(json.loads(json.dumps(found.json()))) == found


@pytest.mark.parametrize("change", [
    {"post_build": "/etc/passwd"}, {"start": "../x"}, {"tree": "x"}, {"requirements": [["a"]]}, {"kind": None, "requirements": 3},
])
def test_a_plan_that_is_none_is_refused(change: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(BuildFailed):
        Recipe.read({**plan(PYTHONS, DEFAULT, tmp_path), "tree": TREE, **change})
