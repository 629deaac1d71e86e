"""environment.yml without conda: specifications as the package index says them, and what it cannot have."""

from pathlib import Path

import pytest

from services.runtimes.local.steps.conda import pypi_version, read_environment
from services.runtimes.local.steps.said import Failure


@pytest.mark.parametrize(("conda", "pypi"), [
    ("", ""), ("*", ""), ("1.2", "==1.2"), ("=1.2", "==1.2.*"), ("==1.2", "==1.2"), ("=1.2.*", "==1.2.*"), ("1.2*", "==1.2.*"),
    ("1.2.*", "==1.2.*"),
    (">=1.2", ">=1.2"), (">=1.2,<2", ">=1.2,<2"), (">= 1.2 , < 2", ">=1.2,<2"), ("!=1.3", "!=1.3"), ("~=1.2", "~=1.2"),
    ("=1.2=py39_0", "==1.2.*"), ("1.2 py39_0", "==1.2"), (">=1.2.*", ">=1.2"), ("==1.2=h123", "==1.2"),
])
def test_versions(conda: str, pypi: str) -> None:
    assert pypi_version(conda) == pypi


def test_alternatives_need_conda() -> None:
    with pytest.raises(Failure, match="only be resolved by conda"):
        pypi_version("1.2|1.3", "environment.yml", "x=1.2|1.3")


def read(tree: Path, text: str) -> tuple[list[str], list[str], list[str], str]:
    (tree / "environment.yml").write_text(text)
    found = read_environment(tree, "environment.yml")
    return [requirement for _, requirement in found.requirements], found.pip, found.absent, found.python


@pytest.mark.parametrize(("dependencies", "expected"), [
    ("- numpy", (["numpy"], [], [], "")),
    ("- python=3.11\n- pip", ([], [], [], "3.11")),
    ("- python==3.12.1", ([], [], [], "3.12")),
    ("- python>=3.9", ([], [], [], "")),
    ("- conda-forge::numpy=1.26", (["numpy==1.26.*"], [], [], "")),
    ("- pytorch\n- matplotlib-base=3", (["torch", "matplotlib==3.*"], [], [], "")),
    ("- numpy\n- pip:\n  - tqdm==4\n  - -r requirements.txt", (["numpy"], ["tqdm==4", "-r requirements.txt"], [], "")),
    ("- gdal\n- r-ggplot2\n- numpy", (["numpy"], [], ["gdal", "r-ggplot2"], "")),
    ("- nodejs=20", ([], [], ["nodejs"], "")),
    ("- Scikit_Learn", (["scikit-learn"], [], [], "")),
])
def test_dependencies(dependencies: str, expected: tuple[list[str], list[str], list[str], str], tmp_path: Path) -> None:
    assert read(tmp_path, f"name: x\nchannels:\n- conda-forge\ndependencies:\n{dependencies}\n") == expected


@pytest.mark.parametrize(("text", "words"), [
    ("- a\n- b", "should contain a dictionary"),
    ("dependencies: [", "is not valid YAML"),
    ("dependencies:\n- {npm: [x]}", "cannot be read"),
    ("dependencies:\n- '!!bad name'", "is no conda specification"),
    ("dependencies:\n- !!python/object/apply:os.system ['x']", "is not valid YAML"),
])
def test_bad_files_are_named(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(Failure, match=words) as failure:
        read(tmp_path, text)
    assert failure.value.reason.startswith("environment.yml")


def test_an_empty_file_asks_for_nothing(tmp_path: Path) -> None:
    assert read(tmp_path, "") == ([], [], [], "")
