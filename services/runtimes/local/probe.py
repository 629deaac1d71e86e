"""Whether this machine can run sandboxes, and how well: asked by `doctor`, at start, and before an overlay is used."""

import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from services.errors import Misconfigured
from services.runtimes.local import limits, seccomp
from services.runtimes.local.paths import FIRST_UID
from services.runtimes.local.sandbox import HOME, Bind, Host, Overlay, Sandbox, options, write_etc
from services.runtimes.local.tools import bubblewrap

# What the kernel or the distribution says when it refuses, and what to do about it.
_ADVICE = (
    ("apparmor_restrict_unprivileged_userns", "kernel.apparmor_restrict_unprivileged_userns",
     "AppArmor keeps programs from making user namespaces: allow bwrap in an AppArmor profile, or set "
     "kernel.apparmor_restrict_unprivileged_userns=0."),
    ("unprivileged_userns_clone", "kernel.unprivileged_userns_clone",
     "The kernel keeps ordinary users from making user namespaces: set kernel.unprivileged_userns_clone=1."),
    ("max_user_namespaces", "user.max_user_namespaces", "No user namespaces are allowed: raise user.max_user_namespaces."),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Probe:
    """What this machine permits; `why` is a sentence where sandboxes cannot be made."""

    sandbox: bool
    why: str = ""
    overlays: bool = False  # a big repository need not be copied for each server
    memory: bool = False  # memory and processes are bounded by control groups, else by rlimits and by looking
    seccomp: bool = False  # system calls are filtered
    accounts: bool = False  # every build and server has an account of its own (started as root)
    git: bool = False


@cache
def probe(store: Path | None = None) -> Probe:
    """Try it: starts a sandbox or two, about 50 ms. `store` is where unreadable tools are copied (`<local>/tools`)."""
    root = os.geteuid() == 0
    try:
        bwrap = bubblewrap(store)
    except Misconfigured as error:
        return Probe(sandbox=False, why=error.sentence)
    with tempfile.TemporaryDirectory(prefix="dockyard-probe-") as name:
        ground = Path(name)
        ground.chmod(0o755)
        write_etc(ground / "etc")
        for part in ("home", "lower", "upper", "work"):
            (ground / part).mkdir()
            if root:
                os.chown(ground / part, FIRST_UID, FIRST_UID)
        plain = Sandbox(("true",), str(ground / "etc"), binds=(Bind(str(ground / "home"), HOME, writable=True),))
        problem = _try(bwrap, plain, root=root)
        if problem:
            return Probe(sandbox=False, why=_explain(problem), git=shutil.which("git", path="/usr/bin:/bin") is not None)
        over = Overlay(str(ground / "lower"), str(ground / "upper"), str(ground / "work"), HOME)
        overlays = not _try(bwrap, Sandbox(("true",), str(ground / "etc"), overlays=(over,)), root=root)
        # The kernel makes a directory in `work` that its owner cannot read.
        subprocess.run(["chmod", "-R", "u+rwX", str(ground)], check=False, capture_output=True)
    group = limits.make_group(f"probe-{os.getpid()}", memory=64 << 20, processes=16, cpus=0)
    group.remove()
    return Probe(
        sandbox=True, overlays=overlays, memory=bool(group.memory and group.pids), seccomp=bool(seccomp.program()),
        accounts=root, git=shutil.which("git", path="/usr/bin:/bin") is not None,
    )


def _try(bwrap: Path, sandbox: Sandbox, *, root: bool) -> str:
    """Run a sandbox; what it says when it fails, or ""."""
    try:
        done = subprocess.run(
            [str(bwrap), *options(sandbox, Host.look()), "--", *sandbox.command], capture_output=True, text=True,
            timeout=20, check=False, env={"PATH": "/usr/bin:/bin"}, user=FIRST_UID if root else None,
            group=FIRST_UID if root else None, extra_groups=[] if root else None,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)
    return "" if done.returncode == 0 else done.stderr.strip() or f"it ended with status {done.returncode}"


def _explain(problem: str) -> str:
    for name, key, advice in _ADVICE:
        path = Path("/proc/sys") / key.replace(".", "/", 1)
        try:
            value = int(path.read_text())
        except (OSError, ValueError):
            continue
        if value == (1 if name.startswith("apparmor") else 0):
            return advice
    return f"bubblewrap cannot make a sandbox here: {problem.splitlines()[-1]}"
