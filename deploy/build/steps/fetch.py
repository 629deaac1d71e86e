"""Fetching commits with git, as repo2docker does it, but of that commit and no other, and from networks only.

repo2docker clones and then moves the default branch to the commit, so that `git status` in a server says "On branch
main"; so does this. Links come from strangers: options cannot be smuggled in (`--`), no file of this container can be
"cloned", no hook of a template runs.

It runs in a process of its own (`python -m steps.fetch`, the job on its standard input), which alone knows the logins for
private repositories and has ended before anything of a repository runs: a RUN step may share the view of processes with
us and read what they remember.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from steps import layer, laying, records, say
from steps.job import PLACE, WORK, Job
from steps.patience import Patience

CHECKOUT, ENVIRONMENT = WORK / "src" / "repository", WORK / "src" / "environment-repository"
LOGINS = PLACE / "logins.json"
_FAILED = PLACE / "failed"
_NEVER = 315_532_800  # what is no commit has no time; archives begin in 1980
_GIT = (
    "git", "-c", "core.hooksPath=/dev/null", "-c", "advice.detachedHead=false", "-c", "init.defaultBranch=main",
    "-c", "credential.helper=",
)
# What git 2.39 and curl 7.88 say of a server that does not answer, fails, or breaks the connection off.
_AWAY = re.compile(
    r"could not resolve host|failed to connect|couldn't connect|unable to connect|connection (?:refused|reset|timed out)|timed out|"
    r"empty reply|no route to host|network is unreachable|recv failure|early eof|hung up unexpectedly|unexpected disconnect|"
    r"returned error: (?:429|5\d\d)|ssl_error_syscall|unexpected eof|from proxy after connect", re.IGNORECASE)


class Failed(Exception):
    """The commit cannot be had; the text is for the user."""


def fetch(job: Job) -> None:
    """Bring everything that the job names below WORK, in a process of its own. Raises `Failed`."""
    sources = {
        "repo_url": job.repo_url, "commit": job.commit, "branch": job.branch, "environment": job.environment, "files": job.files,
        "bytes": job.bytes, "seconds": job.deadline, "patience": job.patience,
    }
    done = subprocess.run([sys.executable, "-m", "steps.fetch"], input=json.dumps(sources), text=True, check=False)
    if done.returncode:
        raise Failed(_FAILED.read_text() if _FAILED.exists() else f"Fetching {job.repo_url} was ended.")


def arrange(job: Job) -> int:
    """Make one tree of what has been fetched, in CHECKOUT; the time of the content's commit. Raises `Failed`."""
    when = _NEVER if job.files else layer.commit_time(CHECKOUT)
    try:
        if job.subdir:
            laying.narrow(CHECKOUT, job.subdir)
            say.line(f"Only {job.subdir} of it is built.", "fetching")
        if job.environment is not None and (left := laying.lay(CHECKOUT, ENVIRONMENT)):
            say.line(laying.told(left), "fetching")
    except laying.Unfit as error:
        raise Failed(str(error)) from error
    return when


def main() -> int:
    """The process; its exit status."""
    sources = json.load(sys.stdin)
    apart, logins = sources.pop("environment"), os.environ.pop("DOCKYARD_LOGINS", "")
    if LOGINS.exists():
        logins = LOGINS.read_text()
        LOGINS.unlink()
    git = Git(json.loads(logins) if logins else {}, sources["patience"])
    bounds = int(sources["bytes"]), time.monotonic() + float(sources["seconds"])
    try:
        bring(git, sources, CHECKOUT, bounds)
        if apart is not None:
            say.line(f"Fetching the environment of {apart['repo_url']}", "fetching")
            try:
                bring(git, apart, ENVIRONMENT, bounds)
            except Failed as error:
                raise Failed(f"The environment repository: {error}") from error
    except Failed as error:
        _FAILED.write_text(str(error))
        return 1
    return 0


def bring(git: "Git", source: Mapping[str, Any], into: Path, bounds: tuple[int, float]) -> None:
    """Fetch a commit, or download the files of a record."""
    if not source["files"]:
        git.commit(source, into)
        return
    into.mkdir(parents=True)
    try:
        records.Gathering(into, *bounds, lambda text: say.line(text, "fetching"), git.patience).all(source["files"])
    except records.Unavailable as error:
        raise Failed(str(error)) from error


class Git:
    """Git with logins: `options` and `environment`, as the worker has made them. A server that is away is waited for `patience` seconds."""

    def __init__(self, logins: Mapping[str, Any], patience: float) -> None:
        self.patience = patience
        self._words = [*_GIT, *logins.get("options", ())]
        self._environment = {
            "PATH": os.environ["PATH"], "HOME": "/tmp", "GIT_TERMINAL_PROMPT": "0", "GIT_CONFIG_NOSYSTEM": "1", "LC_ALL": "C.UTF-8",  # noqa: S108
            "GIT_ALLOW_PROTOCOL": "https:http:git:ssh", "GIT_SSH_COMMAND": "ssh -oBatchMode=yes -oStrictHostKeyChecking=accept-new",
            "GIT_ASKPASS": "/bin/false", "GIT_TEMPLATE_DIR": "", "GIT_LFS_SKIP_SMUDGE": "1",
        }
        self._environment |= {key: value for key, value in os.environ.items() if key.lower().endswith("_proxy") or key == "GIT_SSL_CAINFO"}
        self._environment |= logins.get("environment", {})

    def commit(self, source: Mapping[str, str], into: Path) -> None:
        """Clone, and check the commit out with its submodules and large files."""
        url, commit = source["repo_url"], source["commit"]
        self.run("clone", "--no-checkout", "--", url, str(into), why=f"Failed to clone repository from {url}.")
        if self.run("cat-file", "-e", f"{commit}^{{commit}}", cwd=into, quiet=True):
            branch = source["branch"]
            for ref in [commit, *([branch] if branch and not branch.startswith("-") else [])]:
                self.run("fetch", "origin", ref, cwd=into, quiet=True)
                if not self.run("cat-file", "-e", f"{commit}^{{commit}}", cwd=into, quiet=True):
                    break
            else:
                raise Failed(f"The commit {commit} is not in the repository {url} any more.")
        self.run("reset", "--hard", commit, cwd=into, why=f"Failed to check out {commit}.")
        self.run("submodule", "update", "--init", "--recursive", cwd=into, why="Failed to fetch the submodules.")
        self.large_files(into)

    def large_files(self, checkout: Path) -> None:
        """Replace pointers of Git LFS by the files."""
        attributes = checkout / ".gitattributes"
        if attributes.is_symlink() or not attributes.is_file() or "filter=lfs" not in attributes.read_text(errors="replace"):
            return
        if shutil.which("git-lfs") is None:
            say.line("The repository keeps files in Git LFS, which this image does not have: they stay pointers.", "fetching")
            return
        say.line("Fetching files from Git LFS", "fetching")
        for words in (("install", "--local", "--skip-repo"), ("pull",)):
            self.run("lfs", *words, cwd=checkout, why="Files could not be fetched from Git LFS.")

    def run(self, *arguments: str, cwd: Path | None = None, quiet: bool = False, why: str = "") -> int:
        """One git command, again while a server is away, its output in the log; the exit status, or `Failed` with `why`."""
        patience = Patience(self.patience)
        while True:
            status, away = self._once(*arguments, cwd=cwd, quiet=quiet)
            if not (status and away and patience.lasts()):
                break
            say.line("The server does not answer. Trying again.", "fetching")
            patience.wait()
        if status and why:
            raise Failed(why)
        return status

    def _once(self, *arguments: str, cwd: Path | None, quiet: bool) -> tuple[int, bool]:
        """One git command; its exit status, and whether it says that a server is away."""
        process = subprocess.Popen(
            [*self._words, *arguments], cwd=cwd, env=self._environment, text=True, errors="replace", stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL if quiet else subprocess.PIPE, stderr=subprocess.DEVNULL if quiet else subprocess.STDOUT,
        )
        away = False
        for text in process.stdout or ():
            say.line(text, "fetching")
            away = away or bool(_AWAY.search(text))
        return process.wait(), away


if __name__ == "__main__":
    sys.exit(main())
