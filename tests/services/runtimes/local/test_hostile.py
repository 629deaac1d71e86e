"""What a repository's code may try against others and against this machine."""

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from services.runtimes.base import Lines, Plan, Presence
from services.runtimes.local.builder import LocalBuilder
from services.runtimes.local.detached import Limits, stop_everything
from services.runtimes.local.workshop import Step, Workshop
from tests.gitrepo import Executable, Repo
from tests.processes import ended
from tests.services.runtimes.local.ground import Ground, fresh


async def test_what_runs_in_one_build_does_not_reach_another(home: Ground, repo: Repo, url: str) -> None:
    """A package that poisons whatever cache and environment it can write leaves the next repository as it was."""
    hook = (
        "for base in (os.environ.get('UV_CACHE_DIR', '/run/cache'), '/run/cache', '/srv/venv', '/home/jovyan'):\n"
        "    for path, names, files in os.walk(base):\n"
        "        for file in files:\n"
        "            if file in ('tinyjupyter.py', 'victim.py'):\n"
        "                try:\n"
        "                    os.chmod(os.path.join(path, file), 0o666)\n"
        "                    open(os.path.join(path, file), 'w').write('VERSION = \"poisoned\"\\n')\n"
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
    ("LOCAL_BUILD_MEMORY", str(100 << 20), "exec python -c 'import time; x = b\"x\" * (150 << 20); time.sleep(100)'",
     "postBuild used more memory than it may (100 MiB) and was stopped."),
    ("LOCAL_BUILD_MEMORY", str(100 << 20),
     "exec python -c 'import os, time; f = os.memfd_create(\"x\"); [os.write(f, bytes(75 << 20)) for _ in \"ab\"]; time.sleep(100)'",
     "postBuild used more memory than it may (100 MiB) and was stopped."),
    ("LOCAL_FILE_BYTES", str(50 << 20), "exec dd if=/dev/zero of=big bs=1M count=60",
     "postBuild wrote a file of more than 50 MiB, which it may not."),
    ("LOCAL_BUILD_BYTES", str(60 << 20),
     "for i in 1 2 3 4 5 6 7 8; do dd if=/dev/zero of=f$i bs=1M count=10; sleep 0.3; done; sleep 1000",
     "postBuild took more disk than it may (60 MiB) and was stopped."),
    ("LOCAL_BUILD_PROCESSES", "20", "for i in $(seq 100); do sleep 100 & done; wait", "postBuild"),
])
async def test_limits_end_a_build_with_a_sentence(
    setting: str, value: str, script: str, reason: str, home: Ground, repo: Repo, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = home.job(url, repo.commit({"postBuild": f"#!/bin/sh\n{script}\n"}))
    wide, tight = home.workshop(), home.workshop(**{f"DOCKYARD_{setting}": value})

    def limits(step: Step) -> Limits:
        """The steps before postBuild have all the time that they take here."""
        return Workshop.limits(tight, step) if step.name == "post" else replace(wide.limits(step), seconds=600)

    monkeypatch.setattr(tight, "limits", limits)
    built = await home.build(job, tight)
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
    names = set(os.listdir(os.fsencode(content)))
    assert {b"-rf", b"new\nline", b"\xff\xfe", b"out", b"closed"} <= names
    assert b"pipe" not in names
    assert (content / "-rf").stat().st_mode & 0o7000 == 0
    assert os.readlink(content / "out") == "/etc/passwd"
    await home.workshop().images.remove(job.image)
    assert not content.exists()
    assert await home.workshop().images.exists(job.image) is Presence.NO


async def test_a_git_directory_that_is_a_link_leads_nobody_astray(home: Ground, repo: Repo, url: str, tmp_path: Path) -> None:
    """What postBuild puts in the place of .git is not followed when the tree is closed."""
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    (private / "file").write_text("x")
    (private / "file").chmod(0o600)
    job = home.job(url, repo.commit({"postBuild": f"#!/bin/sh\nrm -rf .git\nln -s {private} .git\nln -s {private} also\n"}))
    built = await home.build(job)
    assert built.exit.ok, built.exit.reason + built.text
    assert (private.stat().st_mode & 0o777, (private / "file").stat().st_mode & 0o777) == (0o700, 0o600)
    content = home.workshop().images.open(job.image).content
    assert not os.path.lexists(content / ".git")
    assert os.readlink(content / "also") == str(private)


async def test_what_looks_like_a_run_in_a_repository_is_none(home: Ground, repo: Repo, url: str) -> None:
    """A repository that forges the files of a run does not get a process of this machine killed."""
    victim = subprocess.Popen(["sleep", "1000"])
    with ended(victim):
        await attacked(home, repo, url, victim.pid)
        assert victim.poll() is None


async def attacked(home: Ground, repo: Repo, url: str, victim: int) -> None:
    started = Path(f"/proc/{victim}/stat").read_text().rpartition(")")[2].split()[19]
    forged = json.dumps({"pid": victim, "started": int(started)})
    script = (
        "#!/bin/bash\nfor d in . fetch post run x/post x/y/run; do mkdir -p $d; cp forged $d/pid; touch $d/lock; done\n"
        "exec flock post/lock flock run/lock flock x/post/lock flock x/y/run/lock flock lock sh -c 'echo waiting; sleep 1000'\n"
    )
    job = home.job(url, repo.commit({"postBuild": script, "forged": forged}))
    builder = LocalBuilder(home.workshop())
    await builder.start(job)
    async for item in builder.follow(job, 1):
        if isinstance(item, Plan):
            await builder.proceed(job, False)
        if isinstance(item, Lines) and "waiting\n" in [line.message for line in item.lines]:
            break
    assert await builder.running() == [job.handle]
    await builder.remove(job.handle)
    stop_everything(home.root / "local")
