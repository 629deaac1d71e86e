"""Real builds: what is built and what is not, and failures with their sentences."""

import asyncio
import os

import pytest

from services.runtimes.base import Exit, Presence
from services.runtimes.local.builder import LocalBuilder
from tests.gitrepo import Repo
from tests.services.runtimes.local.ground import Ground, environments, fresh
from tests.services.runtimes.local.packages import package_files


async def test_a_repository_becomes_an_image(home: Ground, repo: Repo, url: str) -> None:
    name = fresh(home)
    commit = repo.commit({"requirements.txt": f"{name}\n", "x.ipynb": "{}", "start": "#!/bin/sh\nexec \"$@\"\n"})
    built = await home.build(home.job(url, commit))
    assert built.exit == Exit(ok=True, facts={"environment": built.plan.environment, "reused": "no"}), built.text
    record = home.workshop().images.open(built.job.image)
    assert sorted(path.name for path in record.content.iterdir()) == [".git", "requirements.txt", "start", "x.ipynb"]
    assert (record.start, record.commit, os.access(record.content / "start", os.X_OK)) == ("start", built.job.commit, True)
    packages = next((record.environment.venv / "lib").glob("python3*")) / "site-packages"
    assert (packages / f"{name}.py").exists()
    assert (packages / "tinyjupyter.py").exists()
    assert list((packages / "__pycache__").glob(f"{name}.*.pyc"))
    assert not any(path.stat().st_mode & 0o022 for path in packages.rglob("*") if not path.is_symlink())
    assert await home.workshop().images.exists(built.job.image) is Presence.YES
    assert not (home.root / "local/builds" / built.job.handle).exists()


async def test_a_commit_that_changes_only_content_builds_no_environment(home: Ground, repo: Repo, url: str) -> None:
    name = fresh(home)
    first = await home.build(home.job(url, repo.commit({"requirements.txt": name, "x.ipynb": "1"})))
    before = environments(home)
    second = await home.build(home.job(url, repo.commit({"x.ipynb": "2"})))
    assert first.exit.ok
    assert second.exit.facts == {"environment": first.plan.environment, "reused": "yes"}
    assert environments(home) == before
    assert "Using an environment that exists: requirements.txt asks for the same." in second.text
    record = home.workshop().images.open(second.job.image)
    assert (record.content / "x.ipynb").read_text() == "2"
    assert (home.workshop().images.open(first.job.image).content / "x.ipynb").read_text() == "1"


async def test_a_change_of_requirements_builds_one(home: Ground, repo: Repo, url: str) -> None:
    first = await home.build(home.job(url, repo.commit({"requirements.txt": fresh(home)})))
    second = await home.build(home.job(url, repo.commit({"requirements.txt": fresh(home)})))
    assert first.plan.environment != second.plan.environment
    assert second.exit.facts["reused"] == "no"
    assert "Building a new environment: requirements.txt says what is in it." in second.text


async def test_a_package_of_its_own_is_built_for_every_commit(home: Ground, repo: Repo, url: str) -> None:
    first = await home.build(home.job(url, repo.commit(dict(package_files("ownpackage")))))
    second = await home.build(home.job(url, repo.commit({"x.ipynb": "2"})))
    assert first.exit.ok, first.text + first.exit.reason
    assert second.exit.facts["reused"] == "no"
    assert "pyproject.toml is installed from the repository, so every commit needs its own." in second.text
    record = home.workshop().images.open(second.job.image)
    assert list(record.environment.venv.glob("lib/python3*/site-packages/ownpackage.py"))
    assert (record.content / ".git").is_dir()


async def test_what_has_no_wheel_is_built_from_source(home: Ground, repo: Repo, url: str) -> None:
    home.index.source("onlysource")
    built = await home.build(home.job(url, repo.commit({"requirements.txt": "onlysource"})))
    assert built.exit.ok, built.text + built.exit.reason
    assert "Something has to be built from source." in built.text
    assert list(home.workshop().images.open(built.job.image).environment.venv.glob("lib/python3*/site-packages/onlysource.py"))


async def test_post_build_writes_into_home_and_environment(home: Ground, repo: Repo, url: str) -> None:
    script = (
        "#!/bin/bash\nset -e\necho \"said by postBuild: $REPO_DIR $NB_USER $NB_UID $NB_PYTHON_PREFIX\"\nmkdir data; echo 1 > data/made\n"
        "echo 'MADE = 1' > $(python -c 'import site; print(site.getsitepackages()[0])')/frompost.py\ngit status --short > status\n"
    )
    commit = repo.commit({"binder/postBuild": script, "a": "1"})
    built = await home.build(home.job(url, commit))
    assert built.exit.ok, built.text + built.exit.reason
    assert "said by postBuild: /home/jovyan jovyan 1000 /srv/venv\n" in built.text
    again = await home.build(home.job(url, commit))
    assert again.exit.facts["reused"] == "yes"
    for one in (built, again):
        record = home.workshop().images.open(one.job.image)
        assert (record.content / "data/made").read_text() == "1\n"
        assert (record.content / ".git/HEAD").exists()
        assert list(record.environment.venv.glob("lib/python3*/site-packages/frompost.py"))


@pytest.mark.parametrize(("files", "reason"), [
    ({"requirements.txt": "tinyjupyter\nno-such-thing\n"},
     "pip could not find a package named 'no-such-thing' (requirements.txt, line 2)."),
    ({"requirements.txt": "tinyjupyter==7"}, "pip could not find tinyjupyter==7 (requirements.txt, line 1)."),
    ({"binder/postBuild": "#!/bin/sh\necho no\nexit 3\n"}, "postBuild ended with status 3."),
    ({"postBuild": "#!/bin/sh\nkill -9 $$\n"}, "postBuild was ended by signal SIGKILL."),
    ({"Dockerfile": "FROM x"}, "Dockerfile: the runtime local cannot build images from a Dockerfile."),
    ({"apt.txt": "tree"}, "apt.txt asks for system packages (tree), which the runtime local cannot install."),
    ({"runtime.txt": "python-3.4"}, "runtime.txt asks for Python 3.4, which is not installed on this machine"),
    ({"requirements.txt": "-r ../x"}, "requirements.txt, line 1 leads out of the repository (../x)."),
    ({"environment.yml": "dependencies:\n- gdal"},
     "environment.yml asks for gdal, which only conda has, and conda's channels do not answer here."),
    ({"requirements.txt": "git+http://127.0.0.1:1/x.git"}, "A package could not be fetched with git (http://127.0.0.1:1/x.git)."),
    ({"setup.py": "raise SystemExit('broken')", "pyproject.toml": package_files("x")["pyproject.toml"]}, "x could not be built"),
])
async def test_failures_say_why(files: dict[str, str], reason: str, home: Ground, repo: Repo, url: str) -> None:
    before = environments(home)
    built = await home.build(home.job(url, repo.commit(dict(files))))
    assert not built.exit.ok
    assert built.exit.reason.startswith(reason), built.exit.reason + built.text
    assert not built.exit.retryable
    assert await home.workshop().images.exists(built.job.image) is Presence.NO
    made = environments(home) - before
    assert len(made) <= 1, "a failed environment has left something"  # the base, when this test comes first
    assert all((home.root / "local/environments" / key / "current").exists() for key in made)


async def test_a_rebuild_makes_the_environment_anew(home: Ground, repo: Repo, url: str) -> None:
    name = fresh(home)
    commit = repo.commit({"requirements.txt": name})
    first = await home.build(home.job(url, commit, image="rebuilt:1"))
    old = home.workshop().images.open("rebuilt:1")
    home.index.wheel(name, "2.0")
    second = await home.build(home.job(url, commit, image="rebuilt:1", no_cache=True))
    new = home.workshop().images.open("rebuilt:1")
    assert (first.plan.environment, second.exit.facts["reused"]) == (second.plan.environment, "no")
    assert old.environment.directory != new.environment.directory
    assert old.environment.venv.is_dir(), "a running server may still use it"
    assert "2.0" in next(new.environment.venv.glob(f"lib/python3*/site-packages/{name}.py")).read_text()


async def test_old_environments_without_fixed_versions_are_resolved_anew(home: Ground, repo: Repo, url: str) -> None:
    one, other = fresh(home), fresh(home)
    loose, fixed = repo.commit({"requirements.txt": one}), repo.commit({"requirements.txt": f"{other}==1.0"})
    for commit in (loose, fixed):
        assert (await home.build(home.job(url, commit))).exit.ok
    later = home.workshop(DOCKYARD_BUILDS_ENVIRONMENT_DAYS="0.0000001")
    assert (await home.build(home.job(url, loose), later)).exit.facts["reused"] == "no"
    assert (await home.build(home.job(url, fixed), later)).exit.facts["reused"] == "yes"


async def test_jupyter_is_prepared_once_for_all(home: Ground, repo: Repo, url: str) -> None:
    builder = LocalBuilder(home.workshop(DOCKYARD_LOCAL_JUPYTER="tinyjupyter==1.0"))
    await asyncio.gather(builder.prepare(), builder.prepare())
    await builder.prepare()
    built = await home.build(
        home.job(url, repo.commit({"requirements.txt": fresh(home)})), home.workshop(DOCKYARD_LOCAL_JUPYTER="tinyjupyter==1.0"))
    assert built.exit.ok
    assert "Preparing Jupyter" not in built.text
    assert not any((home.root / "local/bases").glob("*/*"))
