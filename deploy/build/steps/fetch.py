"""Fetching a commit with git, as repo2docker does it, but of that commit and no other, and from networks only.

repo2docker clones and then moves the default branch to the commit, so that `git status` in a server says "On branch
main"; so does this. Links come from strangers: options cannot be smuggled in (`--`), no file of this container can be
"cloned", no hook of a template runs.
"""

import os
import subprocess
from pathlib import Path

from steps import say
from steps.job import PLACE, Job


class Failed(Exception):
    """The commit cannot be had; the text is for the user."""


def fetch(job: Job, into: Path) -> None:
    """Clone, and check the commit out with its submodules."""
    with Credentials(job.git_credentials) as words:
        run(words, "clone", "--no-checkout", "--", job.repo_url, str(into), why=f"Failed to clone repository from {job.repo_url}.")
        if run(words, "cat-file", "-e", f"{job.commit}^{{commit}}", cwd=into, quiet=True):
            for ref in [job.commit, *([job.branch] if job.branch and not job.branch.startswith("-") else [])]:
                run(words, "fetch", "origin", ref, cwd=into, quiet=True)
                if not run(words, "cat-file", "-e", f"{job.commit}^{{commit}}", cwd=into, quiet=True):
                    break
            else:
                raise Failed(f"The commit {job.commit} is not in the repository {job.repo_url} any more.")
        run(words, "reset", "--hard", job.commit, cwd=into, why=f"Failed to check out {job.commit}.")
        run(words, "submodule", "update", "--init", "--recursive", cwd=into, why="Failed to fetch the submodules.")


class Credentials:
    """A file of credentials for git, for as long as the fetch takes."""

    def __init__(self, text: str) -> None:
        self._text, self._path = text, PLACE / "git-credentials"

    def __enter__(self) -> list[str]:
        words = ["git", "-c", "core.hooksPath=/dev/null", "-c", "advice.detachedHead=false", "-c", "init.defaultBranch=main"]
        if not self._text:
            return words
        self._path.touch(mode=0o600)
        self._path.write_text(self._text)
        return [*words, "-c", "credential.helper=", "-c", f"credential.helper=store --file={self._path}"]

    def __exit__(self, *_: object) -> None:
        self._path.unlink(missing_ok=True)


def run(words: list[str], *arguments: str, cwd: Path | None = None, quiet: bool = False, why: str = "") -> int:
    """One git command, its output in the log; the exit status, or `Failed` with `why`."""
    environ = {
        "PATH": os.environ["PATH"], "HOME": "/tmp", "GIT_TERMINAL_PROMPT": "0", "GIT_CONFIG_NOSYSTEM": "1", "LC_ALL": "C.UTF-8",  # noqa: S108
        "GIT_ALLOW_PROTOCOL": "https:http:git:ssh", "GIT_SSH_COMMAND": "ssh -oBatchMode=yes -oStrictHostKeyChecking=accept-new",
        "GIT_ASKPASS": "/bin/false", "GIT_TEMPLATE_DIR": "",
    }
    environ |= {key: value for key, value in os.environ.items() if key.lower().endswith("_proxy") or key == "GIT_SSL_CAINFO"}
    process = subprocess.Popen(
        [*words, *arguments], cwd=cwd, env=environ, text=True, errors="replace", stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL if quiet else subprocess.PIPE, stderr=subprocess.DEVNULL if quiet else subprocess.STDOUT,
    )
    for text in process.stdout or ():
        say.line(text, "fetching")
    status = process.wait()
    if status and why:
        raise Failed(why)
    return status
