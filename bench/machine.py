"""The machine and the versions that a figure was measured with; a figure without them means nothing."""

import os
import platform
import subprocess
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_PACKAGES = (
    "uvicorn", "uvloop", "httptools", "fastapi", "sqlalchemy", "asyncpg", "celery", "redis", "aiohttp", "jupyterhub",
)
_ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Machine:
    """What a figure depends on. Memory in MiB; load is the 1-minute average before the bench."""

    cpu: str
    cores: int
    memory: int
    kernel: str
    python: str
    load: float
    revision: str
    versions: dict[str, str]

    def __str__(self) -> str:
        packages = ", ".join(f"{name} {number}" for name, number in self.versions.items())
        return (
            f"{self.cores} × {self.cpu}, {self.memory / 1024:.0f} GiB, Linux {self.kernel}, load {self.load:.2f}\n"
            f"Python {self.python}, {packages}\nrevision {self.revision}"
        )

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return asdict(self)


def describe() -> Machine:
    """This machine, now."""
    return Machine(
        cpu=_field("/proc/cpuinfo", "model name") or platform.machine(), cores=len(os.sched_getaffinity(0)),
        memory=int((_field("/proc/meminfo", "MemTotal") or "0 kB").split()[0]) // 1024, kernel=platform.release(),
        python=platform.python_version(), load=os.getloadavg()[0], revision=_revision(),
        versions={name: found for name in _PACKAGES if (found := _version(name))},
    )


def _field(path: str, name: str) -> str:
    for line in Path(path).read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return ""


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _revision() -> str:
    said = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=_ROOT, capture_output=True, text=True, check=False
    )
    return said.stdout.strip() or "unknown"
