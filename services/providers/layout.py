"""What a link may say beside its repository: which part of it is built, and what its environment is made of.

    ?subdir=course/week1            that directory, as repo2docker's --subdir has it
    ?environment=gh/org/env/main    the environment of another repository; the link's own is the content

Both are part of an image's identity. Without them everything is as BinderHub has it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

from services.errors import BadSpec
from services.providers.base import Resolved, Spec

_LONGEST = 500  # characters


@dataclass(frozen=True, slots=True)
class Layout:
    """Read and checked; `environment` is None where the environment is the repository's own."""

    subdir: str = ""
    environment: Spec | None = None

    @property
    def environment_link(self) -> str:
        """provider/spec of the environment's repository, or ""."""
        return f"{self.environment.provider}/{self.environment.raw}" if self.environment else ""


WHOLE = Layout()


def checked_subdir(text: str) -> str:
    """A directory in a repository as we keep it: `a/b`, without slashes around it. Raises `BadSpec`."""
    if len(text) > _LONGEST:
        raise BadSpec(f"The subdirectory has more than {_LONGEST} characters.")
    if any(character < " " or character == "\x7f" for character in text) or not text.isprintable():
        raise BadSpec("The subdirectory has characters that no path should have.")
    if text.startswith("/") or "\\" in text:
        raise BadSpec(f'The subdirectory "{text}" has to be a path inside of the repository, such as course/week1.')
    parts = [part for part in text.split("/") if part not in ("", ".")]
    if any(part == ".." or part.lower() == ".git" or part.startswith("-") for part in parts):
        raise BadSpec(f'The subdirectory "{text}" has to be a path inside of the repository, such as course/week1.')
    return "/".join(parts)


def source(provider: str, resolved: Resolved) -> dict[str, str]:
    """What rows keep of a resolved environment repository."""
    return {
        "provider": provider, "repo_url": resolved.repo_url, "commit": resolved.ref, "ref": resolved.branch, "spec": resolved.spec,
    }


def identity(kept: Mapping[str, str] | None) -> str:
    """What the name of an image is told of an environment repository."""
    return f"{kept['repo_url']}@{kept['commit']}" if kept else ""


def query(subdir: str | None, environment_link: str | None) -> dict[str, str]:
    """The part of a link's query that says all this."""
    return {key: value for key, value in (("subdir", subdir), ("environment", environment_link)) if value}


def request(provider: str, spec: str, subdir: str | None, environment_link: str | None) -> str:
    """BinderHub's `binder_request` of a launch: `v2/gh/org/repo/ref`, with what is asked for beside it."""
    asked = "&".join(f"{key}={quote(value, safe='/')}" for key, value in query(subdir, environment_link).items())
    return f"v2/{provider}/{spec}" + (f"?{asked}" if asked else "")
