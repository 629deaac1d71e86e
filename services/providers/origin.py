"""Where a configured forge is: read from settings once, trusted by the egress rule wherever it may be."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from services.egress.resolve import normal_host
from services.errors import ForbiddenAddress, Misconfigured
from services.settings import ProviderSettings


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host and port of a forge's pages or API."""

    text: str  # https://github.com, without a slash at its end; with a path for an API
    host: str
    port: int

    @property
    def pair(self) -> tuple[str, int]:
        """What the egress rule is told to trust."""
        return self.host, self.port

    def is_at(self, hostname: str | None, port: int | None) -> bool:
        """Whether an address with this host and port (None: the usual one) leads here; www. makes no difference."""
        return (hostname or "").removeprefix("www.") == self.host and (port or self.port) == self.port


def origin(value: str, key: str) -> Origin:
    """Read a setting: `host`, `host:port`, or an http or https address. Raises `Misconfigured` naming `key`."""
    text = (value if "://" in value else f"https://{value}").rstrip("/")
    try:
        parts = urlsplit(text)
        if parts.scheme not in ("http", "https") or "@" in parts.netloc or parts.query or parts.fragment:
            raise ValueError
        host, port = normal_host(parts.hostname or ""), parts.port or (443 if parts.scheme == "https" else 80)
    except (ValueError, ForbiddenAddress) as error:
        raise Misconfigured(f"Setting {key}: {value!r} is not a host or an http(s) address without credentials.") from error
    return Origin(text, host, port)


def forges(settings: ProviderSettings) -> frozenset[tuple[str, int]]:
    """Host and port of every configured forge: where the content of its repositories may be fetched from.

    For `Rule.make(…, trusted=…)` of whatever fetches content; the APIs are known to the providers alone.
    """
    keys = ("github_host", "gist_host", "gitlab_host", "bitbucket_host", "codeberg_host", "gitea_host")
    return frozenset(origin(value, f"providers.{key}").pair for key in keys if (value := getattr(settings, key)))
