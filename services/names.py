"""How things are named: images, hub users, servers, launches.

Image names are BinderHub's to the letter, so that a registry filled by a BinderHub is found again. Hub user
names begin as BinderHub's do, for people who read them in URLs, but their suffix is not random: it follows
from the launch and its attempt, so that whoever takes a launch over finds the server that was started for
it. No name reveals the launch id it was made from, because whoever knows that id may stop the launch.

Not here: names of builds (`BuildJob.handle`) and of Kubernetes objects, which belong to their runtime.
"""

import hashlib
import json
import re
import secrets
import string

import escapism

_SAFE = frozenset(string.ascii_letters + string.digits)
_IMAGE_NAME = 255  # characters that a registry allows before the tag
_SUFFIX = 8
_APART = 20
_BASE36 = string.digits + string.ascii_lowercase


def new_id() -> str:
    """A launch or build id: 32 hex digits, 128 random bits."""
    return secrets.token_hex(16)


def safe_slug(slug: str, limit: int, hash_length: int = 6) -> str:
    """A slug fit for an image name: escaped, cut to `limit` characters, told apart by a hash of the whole."""
    escaped = escapism.escape(slug, safe=_SAFE, escape_char="-")
    digest = hashlib.sha256(slug.encode()).hexdigest()[:hash_length]
    return f"{escaped[: max(0, limit - hash_length - 1)]}-{digest}".lower()


def image_name(prefix: str, slug: str, ref: str, *, subdir: str = "", environment: str = "") -> str:
    """The image of one commit: `{prefix}{safe_slug}:{ref}`, as BinderHub names it (its builder.py).

    With a subdirectory, or an environment repository apart (`environment`: address@commit), the slug is followed by a hash
    of them, longer than the one that ends a slug, so that no two of these names meet.
    """
    apart = hashlib.sha256(json.dumps([subdir, environment]).encode()).hexdigest()[:_APART] if subdir or environment else ""
    slug = safe_slug(slug, _IMAGE_NAME - len(prefix) - (len(apart) + 1 if apart else 0))
    return f"{prefix}{slug}{f'-{apart}' if apart else ''}:{ref}".replace("_", "-").lower()


def user_name(repo_url: str, launch_id: str, attempt: int) -> str:
    """The hub user of one attempt: `minrk-binder-example-3v5h1k2x`, at most 41 of `[a-z0-9._-]`."""
    digest = int.from_bytes(hashlib.sha256(f"user:{launch_id}:{attempt}".encode()).digest(), "big")
    suffix = ""
    for _ in range(_SUFFIX):
        digest, digit = divmod(digest, 36)
        suffix += _BASE36[digit]
    return f"{_user_prefix(repo_url)}-{suffix}"


def server_id(launch_id: str, attempt: int) -> str:
    """The id of the server that an attempt of a launch starts: 32 hex digits."""
    return hashlib.sha256(f"server:{launch_id}:{attempt}".encode()).hexdigest()[:32]


def _user_prefix(repo_url: str) -> str:
    """BinderHub's `unique_name_from_repo` without its suffix; what is odd in a path becomes "-"."""
    if "://" in repo_url:
        path = repo_url.split("://", 1)[1].partition("/")[2]
    elif re.match(r"[^/]*@[^/]*:", repo_url):
        path = repo_url.split(":", 1)[1]
    else:
        path = repo_url
    path = re.split(r"[?#]", path, maxsplit=1)[0]
    name = path.strip("/").replace("/", "-").lower().removesuffix(".git")
    name = re.sub(r"[^a-z0-9._-]", "-", name)
    if len(name) > 32:
        name = f"{name[:15]}-{name[-15:]}"
    return re.sub(r"^[^a-z0-9]+", "", name) or "repository"
