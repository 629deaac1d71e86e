"""Real builds: what is built and what is not, failures with their sentences, kills, and what one build can do to another."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from services.runtimes.base import Exit, Lines, Plan, Presence
from services.runtimes.local.builder import LocalBuilder
from services.runtimes.local.detached import Running, status
from services.runtimes.local.limits import descendants
from tests.gitrepo import Executable, Repo
from tests.services.runtimes.local.ground import Built, Ground
from tests.services.runtimes.local.packages import package_files

NEXT = iter(range(1000))


def environments(home: Ground) -> set[str]:
    return {path.name for path in (home.root / "local/environments").iterdir()}


def fresh(home: Ground) -> str:
    """The name of a package that no environment has yet."""
    name = f"fresh{next(NEXT)}"
    home.index.wheel(name)
    return name


async def test_a_repository_becomes_an_image(home: Ground, repo: Repo, url: str) -> None:
    name = fresh(home)
    built = await home.build(home.job(url, repo.commit({"requirements.txt": f"{name}\n", "x.ipynb": "{}", "start": "#!/bin/sh\nexec \"$@\"\n"})))
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
    ({"requirements.txt": "tinyjupyter\nno-such-thing\n"}, "pip could not find a package named 'no-such-thing' (requirements.txt, line 2)."),
    ({"requirements.txt": "tinyjupyter==7"}, "pip could not find tinyjupyter==7 (requirements.txt, line 1)."),
    ({"binder/postBuild": "#!/bin/sh\necho no\nexit 3\n"}, "postBuild ended with status 3."),
    ({"postBuild": "#!/bin/sh\nkill -9 $$\n"}, "postBuild was ended by signal SIGKILL."),
    ({"Dockerfile": "FROM x"}, "Dockerfile: the runtime local cannot build images from a Dockerfile."),
    ({"apt.txt": "tree"}, "apt.txt asks for system packages (tree), which the runtime local cannot install."),
    ({"runtime.txt": "python-3.4"}, "runtime.txt asks for Python 3.4, which is not installed on this machine"),
    ({"requirements.txt": "-r ../x"}, "requirements.txt, line 1 leads out of the repository (../x)."),
    ({"environment.yml": "dependencies:\n- gdal"}, "environment.yml asks for gdal, which only conda has, and conda's channels do not answer here."),
    ({"requirements.txt": "git+http://127.0.0.1:1/x.git"}, "A package could not be fetched with git (http://127.0.0.1:1/x.git)."),
    ({"setup.py": "raise SystemExit('broken')", "pyproject.toml": package_files("x")["pyproject.toml"]}, "x could not be built"),
])
async def test_failures_say_why(files: dict[str, str], reason: str, home: Ground, repo: Repo, url: str) -> None:
    before = environments(home) if (home.root / "local/environments").exists() else set()
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


SLOW = "#!/bin/bash\nfor i in $(seq 1 40); do echo line $i; sleep 0.05; done\n"


async def test_a_build_outlives_whoever_follows_it(home: Ground, repo: Repo, url: str) -> None:
    """kill -9 of the following process: the same process of the build is found, the log goes on at the next line."""
    job = home.job(url, repo.commit({"postBuild": SLOW}))
    program = (
        "import asyncio, sys\nfrom pathlib import Path\nfrom services.runtimes.base import BuildJob, Plan, Lines\n"
        "from services.runtimes.local.builder import LocalBuilder\nfrom tests.services.runtimes.local.ground import Ground\n"
        "from tests.services.runtimes.local.packages import Index\n"
        "root = Path(sys.argv[1]); home = Ground(root, Index(root / 'index')); builder = LocalBuilder(home.workshop())\n"
        "job = BuildJob(*sys.argv[2:3], 1, *sys.argv[3:])\n"
        "async def main():\n    await builder.start(job)\n    async for item in builder.follow(job, 1):\n"
        "        if isinstance(item, Plan): await builder.proceed(job, False)\n"
        "        if isinstance(item, Lines):\n            for line in item.lines: print(line.message, end='', flush=True)\n"
        "asyncio.run(main())\n"
    )
    follower = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, str(home.root), job.id, job.image, job.provider, job.repo_url, job.commit,
        stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[4],
    )
    assert follower.stdout is not None
    seen = []
    async for line in follower.stdout:
        seen.append(line.decode())
        if line == b"line 5\n":
            break
    run = home.root / "local/builds" / job.handle / "post"
    before = status(run)
    follower.kill()
    await follower.wait()
    builder, found = LocalBuilder(home.workshop()), Built(job)
    await builder.start(job)
    assert isinstance(before, Running)
    assert status(run) == before, "the build's process is another one"
    async for item in builder.follow(job, 1):
        found.items.append(item)
    assert found.exit.ok, found.text
    assert found.text.startswith("".join(seen))
    assert [line.message for line in found.lines if line.message.startswith("line ")] == [f"line {i}\n" for i in range(1, 41)]
    later = [item async for item in builder.follow(job, len(seen) + 1)]
    first = next(item for item in later if isinstance(item, Lines))
    assert (first.first, first.lines[0].message) == (len(seen) + 1, "line 6\n")
    await builder.remove(job.handle)


async def test_a_stopped_build_leaves_no_process(home: Ground, repo: Repo, url: str) -> None:
    job = home.job(url, repo.commit({"postBuild": "#!/bin/sh\nsetsid sleep 1000 &\ntrap '' TERM\necho waiting\nwhile :; do sleep 1000; done\n"}))
    builder = LocalBuilder(home.workshop())
    await builder.start(job)
    async for item in builder.follow(job, 1):
        if isinstance(item, Plan):
            await builder.proceed(job, False)
        if isinstance(item, Lines) and "waiting\n" in [line.message for line in item.lines]:
            break
    assert await builder.running() == [job.handle]
    found = status(home.root / "local/builds" / job.handle / "post")
    assert isinstance(found, Running)
    below = descendants(found.pid)
    assert len(below) >= 4
    await builder.stop(job)
    assert await builder.running() == []
    assert not [pid for pid in below if os.path.exists(f"/proc/{pid}")]
    last = [item async for item in builder.follow(job, 1)][-1]
    assert isinstance(last, Exit)
    assert (last.reason, last.retryable) == ("postBuild was stopped along with the service.", True)
    await builder.remove(job.handle)


async def test_a_killed_shim_takes_everything_along(home: Ground, repo: Repo, url: str) -> None:
    job = home.job(url, repo.commit({"postBuild": "#!/bin/sh\necho waiting\nsleep 1000\n"}))
    builder, last = LocalBuilder(home.workshop()), None
    await builder.start(job)
    below: list[int] = []
    async for item in builder.follow(job, 1):
        if isinstance(item, Plan):
            await builder.proceed(job, False)
        if isinstance(item, Lines) and "waiting\n" in [line.message for line in item.lines]:
            found = status(home.root / "local/builds" / job.handle / "post")
            assert isinstance(found, Running)
            below = descendants(found.pid)
            os.kill(found.pid, signal.SIGKILL)
        last = item
    assert isinstance(last, Exit)
    assert (last.reason, last.retryable) == ("postBuild was killed from outside, or the machine was restarted.", True)
    for pid in below:
        for _ in range(200):
            if not os.path.exists(f"/proc/{pid}"):
                break
            await asyncio.sleep(0.02)
        assert not os.path.exists(f"/proc/{pid}")
    await builder.remove(job.handle)


async def test_what_runs_in_one_build_does_not_reach_another(home: Ground, repo: Repo, url: str) -> None:
    """A package that poisons whatever cache and environment it can write leaves the next repository as it was."""
    hook = (
        "for base in (os.environ.get('UV_CACHE_DIR', '/run/cache'), '/run/cache', '/srv/venv', '/home/jovyan'):\n"
        "    for path, names, files in os.walk(base):\n"
        "        for file in files:\n"
        "            if file in ('tinyjupyter.py', 'victim.py'):\n"
        "                try: os.chmod(os.path.join(path, file), 0o666); open(os.path.join(path, file), 'w').write('VERSION = \"poisoned\"\\n')\n"
        "                except OSError: pass\n"
    )
    home.index.wheel("victim")
    home.index.source("attacker", hook=hook)
    assert (await home.build(home.job(url, repo.commit({"requirements.txt": "victim\n"})))).exit.ok
    attack = await home.build(home.job(url, repo.commit({"requirements.txt": "victim\nattacker\n"})))
    assert attack.exit.ok, attack.text + attack.exit.reason
    name = fresh(home)
    after = await home.build(home.job(url, repo.commit({"requirements.txt": f"victim\n{name}\n"})))
    venv = home.workshop().images.open(after.job.image).environment.venv
    for package in ("victim", "tinyjupyter"):
        assert next(venv.glob(f"lib/python3*/site-packages/{package}.py")).read_text() == "VERSION = '1.0'\n"
    everywhere = subprocess.run(["grep", "-rl", "poisoned", str(home.root / "local/cache")], capture_output=True, text=True, check=False)
    assert everywhere.stdout == ""


async def test_a_flood_is_cut_with_a_notice_and_then_stopped(home: Ground, repo: Repo, url: str) -> None:
    workshop = home.workshop(DOCKYARD_BUILDS_LOG_BYTES="20000")
    cut = await home.build(home.job(url, repo.commit({"postBuild": "#!/bin/sh\nseq 10000 19999\n"})), workshop)
    assert cut.exit.ok
    assert cut.lines[-1].message == "The log is longer than 20,000 bytes; the rest is left out.\n"
    assert len(cut.text) < 21000
    flood = await home.build(home.job(url, repo.commit({"postBuild": "#!/bin/sh\nyes\n"})), workshop)
    assert flood.exit.reason == "postBuild wrote more than 0.305 MiB of log and was stopped."


@pytest.mark.parametrize(("setting", "value", "script", "reason"), [
    ("BUILDS_TIMEOUT", "4", "sleep 1000", "postBuild took longer than"),
    ("LOCAL_BUILD_IDLE", "1", "sleep 1000", "postBuild said nothing for 1 seconds and was stopped."),
    ("LOCAL_BUILD_MEMORY", str(100 << 20), "exec python -c 'x = bytearray(400 << 20)'", "postBuild used more memory than it may (100 MiB) and was stopped."),
    ("LOCAL_FILE_BYTES", str(50 << 20), "exec dd if=/dev/zero of=big bs=1M count=60", "postBuild wrote a file of more than 50 MiB, which it may not."),
    ("LOCAL_BUILD_BYTES", str(60 << 20), "for i in 1 2 3 4 5 6 7 8; do dd if=/dev/zero of=f$i bs=1M count=10; sleep 0.3; done; sleep 1000",
     "postBuild took more disk than it may (60 MiB) and was stopped."),
    ("LOCAL_BUILD_PROCESSES", "20", "for i in $(seq 100); do sleep 100 & done; wait", "postBuild"),
])
async def test_limits_end_a_build_with_a_sentence(setting: str, value: str, script: str, reason: str, home: Ground, repo: Repo, url: str) -> None:
    job = home.job(url, repo.commit({"postBuild": f"#!/bin/sh\n{script}\n"}))
    built = await home.build(job, home.workshop(**{f"DOCKYARD_{setting}": value}))
    assert not built.exit.ok
    assert built.exit.reason.startswith(reason), built.exit.reason + built.text[-500:]


async def test_names_and_modes_made_to_hurt(home: Ground, repo: Repo, url: str) -> None:
    """What postBuild leaves is taken in and removed again whatever it is called and however deep it lies."""
    script = (
        "#!/bin/bash\nmkdir -p closed/inside; echo x > closed/inside/y; chmod 000 closed/inside; chmod 000 closed\n"
        "python -c 'import os; [(os.mkdir(\"d\"), os.chdir(\"d\")) for _ in range(1500)]'\n"
        "touch -- '-rf' $'new\\nline' $'\\xff\\xfe'; mkfifo pipe; ln -s /etc/passwd out; chmod 4755 -- '-rf'\n"
    )
    job = home.job(url, repo.commit({"postBuild": script, "sub": Executable("x")}))
    built = await home.build(job)
    assert built.exit.ok, built.exit.reason + built.text
    content = home.workshop().images.open(job.image).content
    names = {name for name in os.listdir(os.fsencode(content))}
    assert {b"-rf", b"new\nline", b"\xff\xfe", b"out", b"closed"} <= names
    assert b"pipe" not in names
    assert (content / "-rf").stat().st_mode & 0o7000 == 0
    assert os.readlink(content / "out") == "/etc/passwd"
    await home.workshop().images.remove(job.image)
    assert not content.exists()
    assert await home.workshop().images.exists(job.image) is Presence.NO
