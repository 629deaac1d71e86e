"""All settings of a process, in small frozen groups. See `base` for how a value is found."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.errors import Misconfigured
from services.settings.base import Group, Origin, environment, load_file, load_group
from services.settings.docker import DockerSettings
from services.settings.groups import (
    GROUPS,
    AuthSettings,
    BuildSettings,
    DatabaseSettings,
    FrontSettings,
    HomeSettings,
    HubSettings,
    LeaseSettings,
    LimitSettings,
    LogSettings,
    RedisSettings,
    RuntimeSettings,
)
from services.settings.kubernetes import KubernetesSettings
from services.settings.local import LocalSettings
from services.settings.observe import EventSettings, ObserveSettings
from services.settings.providers import EgressSettings, ProviderSettings
from services.settings.reaper import ReaperSettings
from services.settings.registry import RegistrySettings

ALL_GROUPS: tuple[type[Group], ...] = (
    *GROUPS, ProviderSettings, EgressSettings, LocalSettings, RegistrySettings, DockerSettings, KubernetesSettings,
    ObserveSettings, EventSettings,
)

__all__ = [
    "ALL_GROUPS", "AuthSettings", "BuildSettings", "DatabaseSettings", "DockerSettings", "EgressSettings", "EventSettings",
    "FrontSettings", "Group", "HomeSettings", "HubSettings", "KubernetesSettings", "LeaseSettings", "LimitSettings", "LocalSettings",
    "LogSettings", "ObserveSettings", "Origin", "ProviderSettings", "ReaperSettings", "RedisSettings", "RegistrySettings",
    "RuntimeSettings", "Settings", "load",
]


@dataclass(frozen=True, slots=True)
class Settings:
    """Every group. A function takes the group it needs, never this whole."""

    database: DatabaseSettings
    redis: RedisSettings
    hub: HubSettings
    front: FrontSettings
    limits: LimitSettings
    builds: BuildSettings
    leases: LeaseSettings
    reaper: ReaperSettings
    runtime: RuntimeSettings
    home: HomeSettings
    auth: AuthSettings
    log: LogSettings
    providers: ProviderSettings
    egress: EgressSettings
    local: LocalSettings
    registry: RegistrySettings
    docker: DockerSettings
    kubernetes: KubernetesSettings
    observe: ObserveSettings
    events: EventSettings
    origins: Mapping[str, Origin]  # "group.key" -> where its value came from


def load(
    environ: Mapping[str, str] | None = None,
    *,
    config: Path | None = None,
    flags: Mapping[str, str] | None = None,
    defaults: Mapping[str, Mapping[str, Any]] | None = None,
) -> Settings:
    """Read all settings; raises `Misconfigured` with a sentence that names the wrong key.

    `defaults` lets a command change defaults (as `up` does for the embedded servers) below file and environment.
    """
    env, flags, defaults = environment(environ), flags or {}, defaults or {}
    path = config or (Path(env["DOCKYARD_CONFIG"]) if env.get("DOCKYARD_CONFIG") else None)
    file = load_file(path)
    names = {cls.group for cls in ALL_GROUPS}
    for group in file:
        if group not in names:
            raise Misconfigured(f"Settings file {path}: [{group}] is unknown; known are {', '.join(sorted(names))}.")
    for flag in flags:
        if flag.split(".")[0] not in names:
            raise Misconfigured(f"Flag --set {flag}: no such group; known are {', '.join(sorted(names))}.")
    groups: dict[str, Any] = {}
    origins: dict[str, Origin] = {}
    for cls in ALL_GROUPS:
        groups[cls.group], found = load_group(
            cls, file=file.get(cls.group, {}), file_name=str(path), environ=env, flags=flags,
            defaults=defaults.get(cls.group, {}),
        )
        origins |= {f"{cls.group}.{key}": origin for key, origin in found.items()}
    return Settings(**groups, origins=origins)
