"""The groups of settings that every process shares; those of one runtime stand beside them in files of their own."""

from ipaddress import ip_network
from typing import ClassVar, Literal

from pydantic import Field, SecretStr, field_validator

from services.settings.base import Group
from services.settings.providers import readable
from services.settings.reaper import ReaperSettings

_GUESSED = 16  # characters; a shorter token is found by trying, at the thousand requests per second that one api answers


class DatabaseSettings(Group):
    """Postgres, the truth for everything in flight."""

    group: ClassVar[str] = "database"
    url: SecretStr = Field(SecretStr(""), description="SQLAlchemy address, such as postgresql+asyncpg://user:pw@host/db; a unix socket as ?host=DIR. Empty: the embedded server of `up`.")
    pool: int = Field(8, ge=1, le=200, description="Connections per process.")
    wait: float = Field(45.0, gt=0, description="Seconds a request waits for the database to come back before it fails.")
    waiting: int = Field(1000, ge=1, description="Requests of one process that wait for the database at a time; more fail at once.")


class RedisSettings(Group):
    """Valkey or Redis: wake-ups only; nothing is lost with it."""

    group: ClassVar[str] = "redis"
    url: SecretStr = Field(SecretStr(""), description="redis://host:port/0 or unix:///path/to/socket?db=0. Empty: the embedded server of `up`.")
    prefix: str = Field("dockyard", pattern=r"^[a-z0-9-]+$", description="Prefix of all keys, channels and queues.")


class HubSettings(Group):
    """JupyterHub, as the launcher calls it and as the browser reaches it."""

    group: ClassVar[str] = "hub"
    url: str = Field("", description="The hub's REST API base, such as http://hub:8081/hub/api/, or http+unix://%2Frun%2Fhub.sock/hub/api/. Empty: the embedded hub of `up`.")
    public_url: str = Field("", description="Where browsers find the user servers, such as https://hub.example.org/; must end with /.")
    token: SecretStr = Field(SecretStr(""), description="API token of the service `dockyard` in the hub.")
    exclusive: bool = Field(False, description="Whether the hub serves Dockyard alone: then users that no row knows of are removed too, not only those that a row says are over.")
    concurrency: int = Field(64, ge=1, description="Launches that one launcher has under way at the hub.")
    launch_timeout: float = Field(600.0, gt=0, description="Seconds until a starting server is given up.")
    retries: int = Field(3, ge=0, description="Further attempts after a failed one, where another can help.")
    retry_delay: float = Field(4.0, ge=0, description="Seconds before the first further attempt; doubles each time.")
    restart: float = Field(15.0, ge=0, description="Seconds that a launch which is being started holds on to a hub that does not answer; then it waits among the others.")
    slow: float = Field(2.0, gt=0, description="Seconds for an answer (mean) beyond which fewer launches are begun at a time.")
    patience: float = Field(3600.0, gt=0, description="Seconds that a launch waits for a hub that does not answer or has no room, before it fails. Waiting is no attempt.")


class FrontSettings(Group):
    """The front door: addresses, origins, texts."""

    group: ClassVar[str] = "front"
    host: str = Field("127.0.0.1", description="Address to listen on. Off loopback the limits or authentication must be set.")
    port: int = Field(8000, ge=0, le=65535, description="Port of pages and api.")
    base_url: str = Field("/", pattern=r"^/(.*/)?$", description="Path that everything is below; begins and ends with /.")
    public_url: str = Field("", description="Address of the front door as browsers see it, used in badges and links; empty: taken from the request.")
    hosts: list[str] = Field(default_factory=list, description="Accepted Host headers (host or host:port); * accepts any. Empty: loopback names with the port.")
    origins: list[str] = Field(default_factory=list, description="Other web origins that may start and read launches, such as https://book.example.org; * for all (a public service with thebe embeds).")
    env: list[str] = Field(default_factory=list, description="Environment variables that a launch may set in its server; a * at the end of a name stands for any rest, such as PARAM_*.")
    autostart: bool = Field(False, description="Whether a link from another site starts at once; if not, the page asks for one click.")
    trusted_proxies: list[str] = Field(default_factory=list, description="Networks whose X-Forwarded-* headers are believed.")
    strict_accept: bool = Field(False, description="Refuse /build requests without Accept: text/event-stream, as BinderHub does.")
    build_token_seconds: int = Field(300, ge=1, description="Seconds that a launch page's build token is good for.")
    build_token_check_origin: bool = Field(True, description="Whether a build token counts only from pages of the host it was issued at.")
    build_token_secret: SecretStr = Field(SecretStr(""), description="Key (64 hex digits) that signs build tokens, shared by the members of a federation. Empty: derived from home.secret.")
    build_token_required: bool = Field(False, description="Whether every launch needs a build token of one of our pages (or of a federation's), or the admin token. Off: a launch without one counts against its client.")
    leave: float = Field(0.0, ge=0, description="Seconds that a stopping process says it is not ready (/readyz: 503) and serves as before, so that load balancers notice.")
    hold: float = Field(60.0, ge=0, description="Seconds a stream stays open after its end where a build was watched.")
    api_only: bool = Field(False, description="No pages: only the APIs.")
    banner: str = Field("", description="HTML shown on top of every page.")
    about: str = Field("", description="HTML shown on the about page.")
    name: str = Field("Dockyard", description="The name of the service in titles.")


class LimitSettings(Group):
    """Bounds that refuse with a reason and a true time to retry. Unset ones are off where only this machine reaches the front door, and have the values said here where others do."""

    group: ClassVar[str] = "limits"
    open_per_client: int = Field(512, ge=0, description="Launches not yet ready per client address; 0: no limit.")
    open_per_network: int | None = Field(None, ge=0, description="The same per network. Unset: 1024 where others reach the front door.")
    open_total: int = Field(2000, ge=0, description="Launches not yet ready in all; 0: no limit.")
    servers_per_client: int | None = Field(None, ge=0, description="Launches under way and servers per client address. Unset: 600 where others reach the front door.")
    servers_per_network: int | None = Field(None, ge=0, description="The same per network. Unset: 1200 where others reach the front door.")
    servers_per_repository: int | None = Field(None, ge=0, description="The same per repository, whichever way links take to it. Unset: 600 where others reach the front door.")
    servers_total: int = Field(0, ge=0, description="Running servers in all; 0: no limit. Launches past it wait for a place.")
    quotas: dict[str, int] = Field(default_factory=dict, description="Other numbers than servers_per_repository for repositories that a regular expression matches, as providers.banned does; the first wins. BinderHub's high_quota_specs and spec_config.")
    launches_per_minute: int | None = Field(None, ge=0, description="Launches that a client address begins in a minute. Unset: 600 where others reach the front door. Build tokens of our pages and the admin are exempt, here and in the next three.")
    launches_per_hour: int | None = Field(None, ge=0, description="The same in an hour. Unset: 2400 where others reach the front door.")
    network_launches_per_minute: int | None = Field(None, ge=0, description="Launches that a network begins in a minute. Unset: 1200 where others reach the front door.")
    network_launches_per_hour: int | None = Field(None, ge=0, description="The same in an hour. Unset: 4800 where others reach the front door.")
    ipv4_network: int = Field(24, ge=0, le=32, description="Bits of an IPv4 address that make its network.")
    ipv6_network: int = Field(64, ge=0, le=128, description="Bits of an IPv6 address that make its network.")
    banned_networks: dict[str, str] = Field(default_factory=dict, description="Networks that may not launch, each with the name that they are told, as BinderHub's ban_networks.")
    streams: int = Field(15000, ge=1, description="Open event streams per api process.")
    streams_per_network: int | None = Field(None, ge=0, description="The same of one network, so that it takes no other's place. Unset: 4000 where others reach the front door.")

    @field_validator("quotas")
    @classmethod
    def _readable(cls, quotas: dict[str, int]) -> dict[str, int]:
        readable(list(quotas))
        return quotas

    @field_validator("banned_networks")
    @classmethod
    def _networks(cls, networks: dict[str, str]) -> dict[str, str]:
        for text in networks:
            ip_network(text, strict=False)
        return networks


class BuildSettings(Group):
    """Builds, whatever the runtime."""

    group: ClassVar[str] = "builds"
    image_prefix: str = Field("", description="Prefix of image names, such as registry.example.org/binder/r2d-.")
    concurrency: int = Field(2, ge=1, description="Builds that one worker has under way.")
    resolving: int = Field(16, ge=1, description="Launches that one worker resolves at a time.")
    patience: float = Field(60.0, ge=0, description="Seconds that a launch waits for a forge or a registry that does not answer, while its link is looked up, and a build for the server that it fetches from or for room on the disk; 0: they fail at once. While a link is looked up, for the host of a git address 10 at most, since that may be mistyped.")
    timeout: float = Field(3600.0, gt=0, description="Seconds until a build is stopped.")
    attempts: int = Field(3, ge=1, description="Attempts at a build that the runtime (not the repository) failed.")
    crashes: int = Field(5, ge=1, description="Times a row may take its worker along, while others live on, before it is given up.")
    log_lines: int = Field(100_000, ge=100, description="Lines kept of one build's log.")
    log_bytes: int = Field(16 << 20, ge=1 << 14, description="Bytes kept of one build's log.")
    line_bytes: int = Field(8192, ge=256, description="Bytes kept of one line.")
    grace: float = Field(10.0, ge=0, description="Seconds that a build goes on after its last waiter has cancelled.")
    environment_days: float = Field(7.0, gt=0, description="Age in days at which an environment from unpinned inputs is resolved anew for a new commit.")


class LeaseSettings(Group):
    """How long a silent owner keeps a row."""

    group: ClassVar[str] = "leases"
    seconds: float = Field(9.0, gt=0.5, description="A row whose owner has not been heard for this long is taken over.")
    poll: float = Field(1.0, gt=0, description="Seconds between looks at the database when no nudge comes.")
    drain: float = Field(5.0, ge=0, description="Seconds a stopping process works on before it hands over.")


class RuntimeSettings(Group):
    """Where builds and servers run."""

    group: ClassVar[str] = "runtime"
    name: Literal["local", "docker", "kubernetes", "fake"] = Field("local", description="local, docker or kubernetes; fake builds nothing and is for tests and benches.")


class HomeSettings(Group):
    """Where state lives on this machine."""

    group: ClassVar[str] = "home"
    path: str = Field("", description="Directory of all state; DOCKYARD_HOME sets it too.")
    disk_budget: int = Field(0, ge=0, description="Bytes that the home may take; from reaper.disk_high of it on images are removed that nobody uses, and while that is not enough no build begins. 0: no budget, only the disk counts.")
    secret: SecretStr = Field(SecretStr(""), description="Key (hex) that server tokens and build tokens are derived from; all processes need the same. Empty: made and kept in the home.")


class AuthSettings(Group):
    """Who may do what."""

    group: ClassVar[str] = "auth"
    admin_token: SecretStr = Field(SecretStr(""), description="Bearer token with the admin scope, 16 characters or more; `up` makes one. Empty: no admin access.")
    read_token: SecretStr = Field(SecretStr(""), description="Bearer token, 16 characters or more, that reads the lists of launches, builds and servers, without ids that open or stop anything. Empty: none.")

    @field_validator("admin_token", "read_token")
    @classmethod
    def _not_guessed(cls, token: SecretStr) -> SecretStr:
        if 0 < len(token.get_secret_value()) < _GUESSED:
            raise ValueError(f"is shorter than {_GUESSED} characters, so it could be guessed: take 32 random ones")
        return token


class LogSettings(Group):
    """The processes' own logs."""

    group: ClassVar[str] = "log"
    level: Literal["debug", "info", "warning", "error"] = Field("info", description="The least severe level that is written.")
    format: Literal["text", "json"] = Field("text", description="text for people, json for collectors.")


GROUPS: tuple[type[Group], ...] = (
    DatabaseSettings, RedisSettings, HubSettings, FrontSettings, LimitSettings, BuildSettings, LeaseSettings,
    ReaperSettings, RuntimeSettings, HomeSettings, AuthSettings, LogSettings,
)
