"""What the uv buildpack reads in a repository, without building it: what it takes, for which Python, and what is left to conda."""

import warnings
from pathlib import Path

import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # repo2docker's own imports
    from deploy.build.steps.uv_buildpack import UvBuildPack

LOCK = """{"_meta": {"requires": {"python_full_version": "3.11.4"}},
 "default": {"six": {"version": "==1.16.0", "markers": "python_version > '3'"}, "ours": {"path": ".", "editable": true}},
 "develop": {"six": {"version": "==1.15.0"}, "tqdm": {"version": "==4.66.1", "extras": ["notebook"]}}}"""
PIPFILE = """[packages]
six = "*"
that = {git = "https://example.org/that.git", ref = "v1"}
[dev-packages]
tqdm = ">=4"
[requires]
python_version = "3.12"
"""
# Files, the Python, the requirements, and whether they are installed where the content is.
TAKEN: dict[str, tuple[dict[str, str], str, tuple[str, ...], bool]] = {
    "requirements": ({"requirements.txt": "tqdm\n"}, "", (), False),
    "runtime": ({"runtime.txt": "python-3.11"}, "3.11", (), False),
    "local requirements": ({"requirements.txt": "-e .\n"}, "", (), True),
    "package": ({"setup.py": ""}, "", (), True),
    "project": ({"pyproject.toml": '[project]\nrequires-python = ">=3.9"\n[build-system]\n'}, ">=3.9", (), True),
    "lock": ({"Pipfile.lock": LOCK}, "3.11", ("six==1.16.0 ; python_version > '3'", "tqdm[notebook]==4.66.1", "-e ./."), True),
    "lock before the rest": ({"Pipfile.lock": '{"default": {}}', "Pipfile": PIPFILE, "requirements.txt": "x\n"}, "3.12", (), False),
    "pipfile": ({"binder/Pipfile": PIPFILE}, "3.12", ("six", "that @ git+https://example.org/that.git@v1", "tqdm>=4"), False),
    "environment": ({"environment.yml": "dependencies:\n- python=3.11.*\n- pip>=20\n- pip:\n  - tqdm\n"}, "3.11", ("tqdm",), False),
    "environment alone": ({"environment.yml": "name: x\n", "requirements.txt": "x\n"}, "", (), False),
    "local environment": ({"environment.yml": "dependencies:\n- pip:\n  - -r more.txt\n"}, "", ("-r more.txt",), True),
}
PYTHONS = {
    "python": "", "python=3": "", "python=3.11": "3.11", "python==3.11.2": "3.11", "python 3.11": "3.11", "python=3.11=h1_0": "3.11",
    "python >=3.9,<3.12": ">=3.9,<3.12", "python>=3.9": ">=3.9",
}
LEFT = {
    "conda packages": {"environment.yml": "dependencies:\n- numpy\n"},
    "one that begins like pip": {"environment.yml": "dependencies:\n- pip-tools\n"},
    "one that begins like python": {"environment.yml": "dependencies:\n- python-dateutil\n"},
    "no mapping": {"environment.yml": "- a\n"},
    "R": {"runtime.txt": "r-4.2-2023-01-01", "requirements.txt": ""},
    "Python 2": {"runtime.txt": "python-2.7"},
    "tools": {"pyproject.toml": "[tool.black]\n"},
    "nothing": {"README.md": ""},
}


def read(directory: Path, files: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> UvBuildPack:
    for name, text in files.items():
        (directory / name).parent.mkdir(exist_ok=True)
        (directory / name).write_text(text)
    monkeypatch.chdir(directory)  # repo2docker reads where it is
    return UvBuildPack("base")


@pytest.mark.parametrize("case", TAKEN)
def test_what_names_packages_of_python_is_taken(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files, python, lines, local = TAKEN[case]
    found = read(tmp_path, files, monkeypatch)
    assert found.detect()
    assert found.python == python
    assert set(found._lines()) == set(lines)
    before, after = found.get_preassemble_scripts(), found.get_assemble_scripts()
    assert bool(after) == local
    assert not (before and after)


@pytest.mark.parametrize("words", PYTHONS)
def test_a_python_of_conda_is_one_of_uv(words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = read(tmp_path, {"environment.yml": f"dependencies:\n- {words}\n"}, monkeypatch)
    assert found.detect()
    assert found.python == PYTHONS[words]


@pytest.mark.parametrize("case", LEFT)
def test_all_else_is_left_to_other_buildpacks(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not read(tmp_path, LEFT[case], monkeypatch).detect()
