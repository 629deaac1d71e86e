"""A buildpack that makes Python environments with uv and the base image's Python: no conda, seconds instead of minutes.

It keeps repo2docker's template, `binder/` directory, apt.txt, postBuild, start and runtime.txt, and takes the repositories
that name Python packages only. One with conda packages, R, Julia or Nix is left to repo2docker's own buildpacks.

Each environment is made without any cache that a RUN step could have written: a repository that plants a wheel somewhere
reaches nobody. The engine's cache of layers, which is made of instructions and content, is what makes the second build fast.

Three traps: repo2docker starts servers through `bash -l`, and Debian's /etc/profile sets PATH anew, so the environment is put
back in /etc/profile.d; uv compiles nothing unless told to, and each server would pay a second for it; uv looks at its own
certificates, not the system's.
"""

import json
import os
import re
import shlex
import tomllib
from functools import lru_cache
from pathlib import Path
from typing import Any

from repo2docker.buildpacks.base import BaseImage
from repo2docker.utils import is_local_pip_requirement, open_guess_encoding
from ruamel.yaml import YAML

HERE = Path(__file__).parent
PREFIX = "/srv/venv"
UV = f"UV_SYSTEM_CERTS=1 UV_NO_CACHE=1 UV_LINK_MODE=copy uv pip install --quiet --compile-bytecode --python {PREFIX}"


class UvBuildPack(BaseImage):  # type: ignore[misc]  # repo2docker has no types
    """repo2docker calls it by these names, inside of the checkout."""

    def detect(self) -> bool:
        """Whether the repository names Python packages and nothing else."""
        name, version, _ = self.runtime
        if name and (name != "python" or (version or "3").startswith("2")):
            return False
        if os.path.exists(self.binder_path("environment.yml")):
            return self._from_environment() is not None
        names = ("requirements.txt", "Pipfile.lock", "Pipfile")
        return bool(name) or self._package() or any(os.path.exists(self.binder_path(found)) for found in names)

    # -- what the repository asks for --------------------------------------------------------------------------------

    def _package(self) -> bool:
        """Whether the repository is itself a package, which is installed."""
        if self.binder_dir:
            return False
        project = self._pyproject()
        return os.path.exists("setup.py") or ("project" in project and "build-system" in project)

    def _pyproject(self) -> dict[str, Any]:
        if self.binder_dir or not os.path.exists("pyproject.toml"):
            return {}
        return tomllib.loads(Path("pyproject.toml").read_text())

    def _from_environment(self) -> tuple[list[str], str] | None:
        """Requirements and Python of an environment.yml that has nothing but those; None for any other."""
        path = Path(self.binder_path("environment.yml"))
        if not path.exists():
            return None
        content = YAML(typ="safe").load(path.read_text()) or {}
        if not isinstance(content, dict):
            return None  # whose words for it are conda's
        requirements, python = list[str](), ""
        for item in content.get("dependencies") or ():
            if isinstance(item, dict) and set(item) == {"pip"}:
                requirements += [str(line) for line in item["pip"] or ()]
            elif isinstance(item, str) and (version := _conda_python(item)) is not None:
                python = version
            elif not isinstance(item, str) or not re.fullmatch(r"pip(\s*[=<>~!\d].*)?", item.strip()):
                return None
        return requirements, python

    def _from_pipfile(self) -> list[str]:
        """Pinned requirements of a Pipfile.lock, or those of a Pipfile; for development too, as repo2docker installs them."""
        found: dict[str, Any] = {}
        for kind in ("default", "develop") if self._locked() else ("packages", "dev-packages"):
            found = (self._locked() or self._pipfile()).get(kind, {}) | found
        return [_requirement(name, {"version": entry} if isinstance(entry, str) else entry) for name, entry in found.items()]

    def _locked(self) -> dict[str, Any]:
        lock = Path(self.binder_path("Pipfile.lock"))
        return dict(json.loads(lock.read_text())) if lock.exists() else {}

    def _pipfile(self) -> dict[str, Any]:
        pipfile = Path(self.binder_path("Pipfile"))
        return tomllib.loads(pipfile.read_text()) if pipfile.exists() else {}

    @lru_cache  # noqa: B019 - repo2docker's own pattern; one process builds one repository
    def _lines(self) -> tuple[str, ...]:
        """Requirements that no requirements.txt has. An environment.yml comes before a Pipfile, and that before a requirements.txt."""
        if os.path.exists(self.binder_path("environment.yml")):
            found = self._from_environment()
            return tuple(found[0]) if found else ()
        return tuple(self._from_pipfile())

    def _file(self) -> str:
        """The requirements.txt that is installed, or ""."""
        path = str(self.binder_path("requirements.txt"))
        others = any(os.path.exists(self.binder_path(name)) for name in ("environment.yml", "Pipfile", "Pipfile.lock"))
        return "" if others or not os.path.exists(path) else path

    @property
    def python(self) -> str:
        """The Python that is asked for, such as 3.12, or "" for the base image's."""
        found = self._from_environment()
        version = self.runtime[1] or (found[1] if found else "")
        for requires in (self._locked().get("_meta", {}).get("requires", {}), self._pipfile().get("requires", {})):
            full = version or requires.get("python_full_version") or requires.get("python_version") or ""
            version = version or ".".join(full.split(".")[:2])
        version = version or self._pyproject().get("project", {}).get("requires-python", "")
        return "" if version in ("3", "*") else str(version)

    @lru_cache  # noqa: B019
    def _local(self) -> bool:
        """Whether the packages can only be installed where the content is."""
        lines = list(self._lines())
        if self._file():
            with open_guess_encoding(self._file()) as file:
                lines += file.readlines()
        return self._package() or any(is_local_pip_requirement(line) for line in lines)

    # -- what repo2docker's template is filled with -------------------------------------------------------------------

    @lru_cache  # noqa: B019
    def get_base_packages(self) -> set[str]:
        """Packages of the system."""
        return set(super().get_base_packages()) | {"python3", "git", "ca-certificates"}

    @lru_cache  # noqa: B019
    def get_build_env(self) -> list[tuple[str, str]]:
        """Names that repo2docker's users know."""
        names = ("NB_PYTHON_PREFIX", "KERNEL_PYTHON_PREFIX", "VIRTUAL_ENV")
        return [*super().get_build_env(), *((name, PREFIX) for name in names)]

    @lru_cache  # noqa: B019
    def get_path(self) -> list[str]:
        """The environment comes first."""
        return [f"{PREFIX}/bin", *super().get_path()]

    @lru_cache  # noqa: B019
    def get_build_script_files(self) -> dict[str, str]:
        """uv itself, what every environment has, and the way back into PATH."""
        jupyter = os.environ.get("DOCKYARD_JUPYTER") or str(HERE / "uv" / "jupyter.txt")
        found = {
            "/opt/dockyard/bin/uv": "/usr/local/bin/uv", jupyter: "/tmp/jupyter.txt",  # noqa: S108 - in the image
            str(HERE / "uv" / "profile.sh"): "/etc/profile.d/dockyard.sh",
        }
        authorities = "/build/dockyard/ca.crt"
        return found | ({authorities: "/usr/local/share/ca-certificates/dockyard.crt"} if os.path.exists(authorities) else {})

    @lru_cache  # noqa: B019
    def get_build_scripts(self) -> list[tuple[str, str]]:
        """The environment with Jupyter in it: the same for all repositories that ask for the same Python."""
        python = f"--python {shlex.quote(self.python)}" if self.python else "--python python3"
        return [
            *super().get_build_scripts(),
            ("root", f"update-ca-certificates > /dev/null 2>&1; rm -rf {PREFIX} && install -d -o ${{NB_USER}} -g ${{NB_USER}} {PREFIX}"),
            ("${NB_USER}", f"UV_SYSTEM_CERTS=1 UV_NO_CACHE=1 uv venv --quiet --seed --clear {python} {PREFIX} && "
                           f"{UV} -r /tmp/jupyter.txt && rm -rf ${{HOME}}/.cache"),
        ]

    def _scripts(self) -> list[tuple[str, str]]:
        scripts = []
        if self._file():
            scripts.append(("${NB_USER}", f"{UV} -r {shlex.quote(self._file())} && rm -rf ${{HOME}}/.cache"))
        if self._lines():
            # Through a file: a requirement is no word of a shell. What names paths means them from where its own file is.
            words = " ".join(shlex.quote(line.replace("\n", " ")) for line in self._lines())
            file, enter = (".named.txt", f"cd {shlex.quote(self.binder_dir or '.')} && ") if self._local() else ("/tmp/named.txt", "")  # noqa: S108
            scripts.append(("${NB_USER}", f"{enter}printf '%s\\n' {words} > {file} && {UV} -r {file} && rm -rf {file} ${{HOME}}/.cache"))
        return scripts

    @lru_cache  # noqa: B019
    def get_preassemble_script_files(self) -> dict[str, str]:
        """What is installed before the content is copied."""
        found = dict(super().get_preassemble_script_files())
        return found | ({self._file(): self._file()} if self._file() and not self._local() else {})

    @lru_cache  # noqa: B019
    def get_preassemble_scripts(self) -> list[tuple[str, str]]:
        """Packages that do not need the content."""
        return [*super().get_preassemble_scripts(), *([] if self._local() else self._scripts())]

    @lru_cache  # noqa: B019
    def get_assemble_scripts(self) -> list[tuple[str, str]]:
        """Packages that do, and the repository itself."""
        scripts = [*super().get_assemble_scripts(), *(self._scripts() if self._local() else [])]
        return [*scripts, ("${NB_USER}", f"{UV} . && rm -rf ${{HOME}}/.cache")] if self._package() else scripts


def _conda_python(item: str) -> str | None:
    """What conda's words for Python (`python=3.11.*`, `python >=3.9`) are for uv, "" for any; None for another package.

    A version is taken to its second number, as repo2docker does.
    """
    match = re.fullmatch(r"python(?:\s*([=<>~!].*)|\s+(\d.*))?", item.strip())
    if match is None:
        return None
    words = (match[1] or match[2] or "").strip()
    exact = re.fullmatch(r"={0,2}\s*(\d+(?:\.\d+)?)(?:\.\d+)*(?:\.\*)?(?:\s*=.*)?", words)
    return exact[1] if exact else words.replace(" ", "")


def _requirement(name: str, entry: dict[str, Any]) -> str:
    """One line of requirements from an entry of a Pipfile."""
    extras = f"[{','.join(entry['extras'])}]" if entry.get("extras") else ""
    markers = f" ; {entry['markers']}" if entry.get("markers") else ""
    for kind in ("git", "hg", "svn", "bzr"):
        if kind in entry:
            reference = f"@{entry['ref']}" if entry.get("ref") else ""
            return f"{name}{extras} @ {kind}+{entry[kind].removeprefix(kind + '+')}{reference}{markers}"
    if entry.get("file"):
        return f"{name}{extras} @ {entry['file']}{markers}"
    if entry.get("path"):
        path = "./" + str(entry["path"]).removeprefix("./")
        return f"-e {path}" if entry.get("editable") else path
    version = entry.get("version", "")
    return f"{name}{extras}{'' if version == '*' else version}{markers}"
