"""Git repositories for tests, made from dictionaries: see `tests.gitserver`, which serves them."""

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

GIT_ENV = {
    "PATH": os.environ.get("PATH", "/usr/bin:/bin"), "HOME": "/nonexistent", "LC_ALL": "C",
    "GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_TERMINAL_PROMPT": "0",
}
ANY_OWNER = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*"}
_EPOCH = 1_700_000_000


@dataclass(frozen=True)
class Executable:
    """The content of a file with the mode 755."""

    content: str


@dataclass(frozen=True)
class Symlink:
    """A symbolic link."""

    target: str


@dataclass(frozen=True)
class Submodule:
    """A submodule: write `.gitmodules` along with it, or use `Repo.submodule`."""

    commit: str


Content = str | bytes | Executable | Symlink | Submodule | None


def git(*arguments: str, cwd: Path | None = None, stdin: bytes = b"") -> str:
    """Run git without anybody's configuration; returns what it prints."""
    command = ["git", *arguments]
    done = subprocess.run(command, cwd=cwd, env=GIT_ENV, input=stdin, capture_output=True, check=False)
    if done.returncode:
        raise RuntimeError(f"git {arguments[0]}: {done.stderr.decode(errors='replace')}")
    return done.stdout.decode().strip()


@dataclass
class Repo:
    """A bare repository, written by `git fast-import`: one process per commit."""

    path: Path
    commits: int = 0

    @classmethod
    def create(cls, root: Path, name: str, *, branch: str = "main") -> Self:
        """An empty repository whose HEAD is `branch`."""
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        git("init", "-q", "--bare", f"--initial-branch={branch}", str(path))
        return cls(path)

    def commit(self, files: Mapping[str, Content], *, branch: str = "main", message: str = "change") -> str:
        """Add a commit to `branch`: files to write, or to remove where the content is None; returns its id."""
        self.commits += 1
        ref = f"refs/heads/{branch}"
        stream = [f"commit {ref}\ncommitter Test <test@example.org> {_EPOCH + self.commits} +0000\n".encode()]
        stream.append(_data(message.encode()))
        if ref in self.refs():
            stream.append(f"from {ref}^0\n".encode())
        stream += [_change(name, content) for name, content in files.items()]
        git("fast-import", "--quiet", "--force", cwd=self.path, stdin=b"".join(stream))
        return self.id(ref)

    def submodule(self, path: str, url: str, commit: str, *, branch: str = "main") -> str:
        """Add a commit with a submodule (the only one that `.gitmodules` will name); returns its id."""
        modules = f'[submodule "{path}"]\n\tpath = {path}\n\turl = {url}\n'
        return self.commit({".gitmodules": modules, path: Submodule(commit)}, branch=branch)

    def branch(self, name: str, at: str = "HEAD") -> None:
        """Make or move a branch."""
        git("update-ref", f"refs/heads/{name}", self.id(at), cwd=self.path)

    def tag(self, name: str, at: str = "HEAD", *, message: str = "") -> str:
        """Make a tag, annotated if there is a message; returns the id that the ref has, the tag object's if any."""
        if not message:
            git("update-ref", f"refs/tags/{name}", self.id(at), cwd=self.path)
        else:
            tagger = f"Test <test@example.org> {_EPOCH} +0000"
            stream = f"tag {name}\nfrom {self.id(at)}\ntagger {tagger}\n".encode()
            git("fast-import", "--quiet", cwd=self.path, stdin=stream + _data(message.encode()))
        return git("rev-parse", f"refs/tags/{name}", cwd=self.path)

    def delete(self, ref: str) -> None:
        """Remove a ref, by its full name."""
        git("update-ref", "-d", ref, cwd=self.path)

    def head(self, branch: str) -> None:
        """Change the default branch."""
        git("symbolic-ref", "HEAD", f"refs/heads/{branch}", cwd=self.path)

    def id(self, ref: str) -> str:
        """The commit that a ref means."""
        return git("rev-parse", "--verify", f"{ref}^{{commit}}", cwd=self.path)

    def refs(self) -> dict[str, str]:
        """All refs with their ids."""
        lines = git("for-each-ref", "--format=%(refname) %(objectname)", cwd=self.path).splitlines()
        return dict(line.split(" ", 1) for line in lines)


def _data(content: bytes) -> bytes:
    return f"data {len(content)}\n".encode() + content + b"\n"


def _change(name: str, content: Content) -> bytes:
    path = '"' + name.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
    match content:
        case None:
            return f"D {path}\n".encode()
        case Submodule(commit):
            return f"M 160000 {commit} {path}\n".encode()
        case Symlink(target):
            return f"M 120000 inline {path}\n".encode() + _data(target.encode())
        case Executable(text):
            return f"M 100755 inline {path}\n".encode() + _data(text.encode())
        case _:
            raw = content.encode() if isinstance(content, str) else content
            return f"M 100644 inline {path}\n".encode() + _data(raw)
