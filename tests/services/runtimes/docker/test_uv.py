"""The uv buildpack in real builds: every file that it reads, seen in the image that came out."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.runtimes.docker import DockerRuntime
from tests.gitserver import Executable, GitServer, Repo
from tests.registryserver import RegistryServer
from tests.services.runtimes.docker import lab

pytestmark = [pytest.mark.docker, pytest.mark.slow, pytest.mark.xdist_group("docker")]
LOCK = '{"_meta": {}, "default": {"six": {"version": "==1.16.0"}}, "develop": {}}'
PIPFILE = '[packages]\nsix = "*"\n[requires]\npython_version = "3.11"\n'
PROJECT = '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n[project]\nname = "ours"\nversion = "1"\n' \
          'dependencies = ["six==1.16.0"]\n[tool.setuptools]\npackages = ["ours"]\n'
# A name, its files, and what a shell in the server prints.
CASES: dict[str, tuple[dict[str, str | Executable], dict[str, str]]] = {
    "requirements": (
        {"requirements.txt": "six==1.16.0\n", "apt.txt": "tree\n", "runtime.txt": "python-3.11\n",
         "postBuild": Executable("#!/bin/bash\ntouch made\n"), "start": Executable('#!/bin/bash\nexport FROM_START=yes\nexec "$@"\n')},
        {"python -c 'import six; print(six.__version__)'": "1.16.0", "command -v tree": "/usr/bin/tree", "ls made": "made",
         "echo $FROM_START": "yes", "python --version": "Python 3.11"},
    ),
    "pipfile": ({"Pipfile": PIPFILE, "Pipfile.lock": LOCK}, {"python -c 'import six; print(six.__version__)'": "1.16.0"}),
    "project": (
        {"pyproject.toml": PROJECT, "ours/__init__.py": "word = 'ours'\n"},
        {"cd / && python -c 'import ours, six; print(ours.word, six.__version__)'": "ours 1.16.0"},
    ),
    "environment": (
        {"environment.yml": "name: x\ndependencies:\n- python=3.11\n- pip\n- pip:\n  - six==1.16.0\n"},
        {"python -c 'import six; print(six.__version__)'": "1.16.0"},
    ),
}


@pytest.fixture(scope="module")
async def runtime(store: RegistryServer) -> AsyncIterator[DockerRuntime]:
    """On the engine, which keeps the steps that the cases share; without content layers, so that each case is one build."""
    found = lab.runtime(None, "engine", docker_jupyter="")
    yield found
    await found.aclose()


@pytest.mark.parametrize("case", CASES)
async def test_a_file_that_names_packages(case: str, runtime: DockerRuntime, repositories: tuple[Path, GitServer]) -> None:
    root, server = repositories
    files, answers = CASES[case]
    commit = Repo.create(root, f"uv-{case}.git").commit(files)
    image = f"tests/r2d-uv-{case}:{commit}"
    told = await lab.build(runtime, lab.job(server.url(f"uv-{case}.git"), commit, image))
    assert told.end is not None
    assert told.end.ok, told.text
    assert "Using UvBuildPack builder" in told.text
    try:
        script = "; ".join(f"echo \"$({question})\"" for question in answers)
        said = lab.docker("run", "--rm", "--network=none", image, "bash", "-c", script).splitlines()[-len(answers):]
        for line, expected in zip(said, answers.values(), strict=True):
            assert expected in line
        # Compiled, or every server would pay for it.
        compiled = lab.docker("run", "--rm", image, "sh", "-c", "ls /srv/venv/lib/python3*/site-packages/__pycache__/six*.pyc")
        assert compiled
    finally:
        lab.docker("rmi", image)
