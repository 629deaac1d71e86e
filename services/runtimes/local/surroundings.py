"""What every sandbox of this home has in common, found once per process: programs, interpreter, certificates, index."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from services.egress import Purpose
from services.runtimes.local import interpreters, programs, tools
from services.runtimes.local.interpreters import Interpreter
from services.runtimes.local.paths import Paths
from services.runtimes.local.sandbox import PROGRAMS, PYTHON, Bind, Overlay, Sandbox, environment, write_etc
from services.settings import LocalSettings

CERTIFICATES = (
    "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT", "GIT_SSL_CAINFO", "NODE_EXTRA_CA_CERTS",
)  # fmt: skip
INDEX = (
    "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX", "UV_FIND_LINKS", "UV_INSECURE_HOST",
    "UV_HTTP_TIMEOUT", "UV_SYSTEM_CERTS", "UV_NATIVE_TLS", "UV_INDEX_STRATEGY", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL",
    "PIP_FIND_LINKS", "PIP_TRUSTED_HOST", "PIP_DEFAULT_TIMEOUT",
)  # fmt: skip
BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")
# Where an operator has told only pip about an index, uv is told the same.
_FOR_UV = {"UV_DEFAULT_INDEX": "PIP_INDEX_URL", "UV_EXTRA_INDEX_URL": "PIP_EXTRA_INDEX_URL", "UV_FIND_LINKS": "PIP_FIND_LINKS"}


@dataclass(frozen=True, slots=True)
class Surroundings:
    """See `make`; immutable."""

    paths: Paths
    programs: Path
    python: Interpreter  # runs our own programs
    bwrap: Path
    uv: Path
    certificates: Mapping[str, str]
    index: Mapping[str, str]

    @classmethod
    def make(cls, paths: Paths, settings: LocalSettings, environ: Mapping[str, str] | None = None) -> Self:
        """Find or prepare everything; blocking, about a second the first time. Raises `Misconfigured`."""
        env = os.environ if environ is None else environ
        store = paths.root / "tools"
        write_etc(paths.etc)
        found = interpreters.installed(tuple(settings.pythons))
        return cls(
            paths, programs.install(paths.root / "programs"), interpreters.for_programs(found, store),
            tools.bubblewrap(store), tools.uv_program(store), certificates(env), index(env),
        )

    def sandbox(
        self,
        purpose: Purpose,
        command: tuple[str, ...],
        *,
        env: Mapping[str, str],
        binds: tuple[Bind, ...] = (),
        overlays: tuple[Overlay, ...] = (),
        cwd: str,
        tmp: Path | None = None,
        interpreter: Interpreter | None = None,
        processes: int = 0,
        online: bool = True,
    ) -> Sandbox:
        """A sandbox for a command that `inside` starts: ("step", name) or ("exec", program, arguments…)."""
        common = [Bind(str(self.programs), PROGRAMS)]
        prefixes = {one.prefix: one.source for one in (self.python, interpreter) if one is not None and one.bound}
        common += [Bind(source, prefix) for prefix, source in sorted(prefixes.items())]
        outside = {path for path in self.certificates.values() if not path.startswith(("/usr/", "/etc/ssl/certs", "/etc/pki/"))}
        common += [Bind(path, path) for path in sorted(outside)]
        egress = str(self.paths.egress / purpose) if online else ""
        return Sandbox(
            command=(PYTHON, "-I", "-S", f"{PROGRAMS}/inside.py", str(processes), *command), etc=str(self.paths.etc),
            env=environment({**self.certificates, **env}, egress=online), binds=(*common, *binds), overlays=overlays,
            links={PYTHON: self.python.executable}, cwd=cwd, egress=egress, tmp=str(tmp) if tmp else "", bwrap=str(self.bwrap),
        )


def certificates(environ: Mapping[str, str]) -> dict[str, str]:
    """The operator's own certificate authorities: variables whose file or directory every account may read."""
    return {name: environ[name] for name in CERTIFICATES if name in environ and tools.open_to_all(Path(environ[name]))}


def index(environ: Mapping[str, str]) -> dict[str, str]:
    """The operator's settings of the package index, for pip and uv."""
    found = {name: environ[name] for name in INDEX if environ.get(name)}
    if not environ.get("SSL_CERT_FILE") and any(os.path.exists(path) for path in BUNDLES):
        found.setdefault("UV_SYSTEM_CERTS", "true")  # else uv knows its own authorities only
    if not any(name.startswith("UV_") and ("INDEX" in name or "LINKS" in name) for name in found):
        found |= {name: found[other] for name, other in _FOR_UV.items() if other in found}
    return found


def without_credentials(variables: Mapping[str, str]) -> dict[str, str]:
    """What may be told to a repository's code: no variable in which an address has a user or a password."""
    return {
        name: value for name, value in variables.items()
        if not any("@" in urlsplit(word.rpartition("=")[2] if "://" in word else word).netloc for word in value.split())
    }


def local_directories(variables: Mapping[str, str]) -> list[str]:
    """Directories of this machine that index settings name, which sandboxes need to see."""
    words = [word for name, value in variables.items() if "LINKS" in name or "INDEX" in name for word in value.split()]
    paths = [word.rpartition("=")[2].removeprefix("file://") for word in words]
    return sorted({path for path in paths if path.startswith("/") and tools.open_to_all(Path(path)) and os.path.isdir(path)})
