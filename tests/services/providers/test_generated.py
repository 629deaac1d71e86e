"""A hundred thousand links, made of what breaks parsers, through reading and naming: refused with a sentence, or safe to pass on.

With another seed, and more of them: `DOCKYARD_TEST_SPECS=1000000 DOCKYARD_TEST_SEED=7 pytest tests/services/providers/test_generated.py`
"""

import os
import re
from collections.abc import Callable
from random import Random
from urllib.parse import quote, urlsplit

from services.errors import BadRequest
from services.names import image_name, server_id, user_name
from services.providers import TABLE, make_providers
from services.providers.grammar import PROTOCOLS, checked_ref
from services.providers.layout import checked_subdir
from services.providers.links import read_link
from services.settings import EgressSettings, ProviderSettings

NUMBER, SEED = int(os.environ.get("DOCKYARD_TEST_SPECS", "100000")), int(os.environ.get("DOCKYARD_TEST_SEED", "1"))
PROVIDERS = make_providers(
    ProviderSettings.model_validate({"enabled": sorted(TABLE), "gitea_host": "git.example.org"}), EgressSettings.model_validate({}))
PREFIXES = sorted(PROVIDERS)
WORDS = (
    "norvig", "pytudes", "a", "A", "a-b", "a_b", "a.b", "x.git", "HEAD", "main", "feature", "v1.0", "ü", "日本", "א", "Ⅷ", "ﬁ", "ı", "ß",
    "-", "--", "-x", "--upload-pack=id", "--output=/etc/passwd", "-oProxyCommand=id", "..", ".", "", "/", "//", "%2F", "%2f", "%00",
    "%0a", "%0d%0aX: y", "%25", "%252F", "%", "%zz", "%ff", "\0", "\n", "\r\n", "\t", "\x7f", "\x9b", "\u2028", "\u202e", "\ufeff",
    "\ud800", "a" * 40, "A" * 40,
    "0123456789abcdef0123456789abcdef01234567", "f" * 39, "refs/heads/main", "pull/1/head", "@", "@{", "~1", "^", ":",
    "?", "#", "*", "[", "\\", "|", ";", "$(id)", "`id`", "&&", "'", '"', "<script>", "{}", "https:", "https://", "http://", "ssh://",
    "git://", "file:///etc/passwd", "ext::sh -c id", "git@github.com:", "user:secret@", "example.org", "127.0.0.1", "[::1]", "0x7f.1",
    "2130706433", "localhost", "169.254.169.254", ":80", ":0", ":99999", "10.5281/zenodo.3242074", "10.7910/DVN/TJCLKP", "doi:",
    "swh:1:rev:" + "a" * 40, ";origin=", "dataset", "resource", "osf.io/abc12", "1234567890abcdef1234", "x" * 300, "ü" * 90,
)
NAMES = ("norvig", "pytudes", "a", "A", "a-b", "a_b", "b-c", "a.b", "x.git", "1234567890abcdef1234", "Zenodo", "0")
ADDRESSES = ("https://example.org/r.git", "https://git.example.org/a/b", "git@h.example:p/q", "ssh://git@h.example/p", "http://[::1]/x",
             "https://u:p@example.org/r", "file:///x", "https://demo.ckan.org/dataset/x", "https://example.org/-x", "git://h.example/--y")
IMAGE = re.compile(r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*-*:[a-z0-9][a-z0-9._-]{0,127}")


def text(random: Random) -> str:
    """Words with separators between them, or an address in one part, and now and then one character of it changed."""
    if random.random() < 0.3:
        return random.choice(("", "", "https://github.com/", "https://gitlab.com/")) + "/".join((
            *random.choices(NAMES, k=2), *random.choices((*NAMES, *WORDS, "b" * 40, "c" * 40), k=random.choice((0, 1, 1, 1, 2)))))
    parts = [random.choice(WORDS) for _ in range(random.choice((1, 2, 2, 3, 3, 3, 4, 6)))]
    if random.random() < 0.25:
        parts[0] = random.choice(ADDRESSES)
        if random.random() < 0.7:
            parts[0] = quote(parts[0], safe="")
    made = random.choice(("/", "/", "/", "")).join(parts)
    if made and random.random() < 0.2:
        at = random.randrange(len(made))
        made = made[:at] + random.choice("/%:@-.?#\\\n\0 ") + made[at + 1:]
    return made


def read(work: Callable[[], object]) -> object:
    """What it gives; None where it is refused, with a sentence that can be shown."""
    try:
        return work()
    except BadRequest as error:
        said = error.sentence
    assert said.isprintable(), said
    assert 0 < len(said) < 5000
    return None


def test_specs() -> None:
    random, names, images, understood = Random(SEED), {}, {}, 0
    for _ in range(NUMBER):
        prefix, raw = random.choice(PREFIXES), text(random)
        provider = PROVIDERS[prefix]
        spec = read(lambda: provider.parse(raw))  # noqa: B023 - called at once
        if spec is None:
            continue
        understood += 1
        assert not spec.ref.startswith("-"), raw
        assert not spec.repo.startswith("-"), raw
        for said in (spec.ref, spec.repo, *spec.extra.values()):
            assert not any(character < " " or character in "\x7f\ud800" for character in said), (raw, said)
        if spec.ref:
            assert checked_ref(spec.ref) == spec.ref
        again = provider.parse(spec.raw)  # the same link once more is the same launch
        assert (again.repo, again.ref) == (spec.repo, spec.ref)
        resolved = provider.pinned(spec)
        if resolved is None:
            continue
        scheme, _, rest = resolved.repo_url.partition(":")
        assert scheme in (*PROTOCOLS, "swh"), resolved
        if scheme != "swh":
            host = urlsplit(resolved.repo_url)
            assert host.hostname, resolved
            assert not host.hostname.startswith("-"), resolved
            assert host.password is None, resolved
            assert not re.search(r"[\s\x00-\x1f\\]", resolved.repo_url), resolved
        subdir = random.choice(("", "", "a", "a/b", "A"))
        environment = random.choice(("", "", f"https://github.com/a/b@{'c' * 40}", f"https://github.com/a/c@{'c' * 40}"))
        name = image_name("r2d-", resolved.slug, resolved.ref, subdir=subdir, environment=environment)
        assert IMAGE.fullmatch(name), name
        assert len(name.partition(":")[0]) <= 255
        # One name is one commit, whatever repository it was found in, with one part of it and one environment.
        assert names.setdefault(name, (resolved.ref, subdir, environment)) == (resolved.ref, subdir, environment), (name, rest)
        assert images.setdefault((resolved.slug, resolved.ref, subdir, environment), name) == name
    assert understood > NUMBER / 50
    assert len(names) > 50


def test_refs_subdirectories_and_links() -> None:
    random, known, found = Random(SEED + 1), tuple(PROVIDERS.values()), 0
    for _ in range(NUMBER // 4):
        raw = text(random)
        ref = read(lambda: checked_ref(raw))  # noqa: B023 - called at once
        assert ref is None or (ref == raw and not raw.startswith("-"))
        subdir = read(lambda: checked_subdir(raw))  # noqa: B023
        assert subdir is None or not any(part.startswith("-") or part in ("..", ".git") for part in str(subdir).split("/"))
        link = read(lambda: read_link(raw, PROVIDERS))  # noqa: B023
        if link is not None:
            found += 1
            assert link.provider in PROVIDERS
            assert not link.repo.startswith("-")
            read(lambda: PROVIDERS[link.provider].parse(link.spec))  # noqa: B023
    assert found > NUMBER / 100
    assert len(known) == len(TABLE)


def test_names_of_what_runs() -> None:
    random, users, servers = Random(SEED + 2), set(), set()
    for number in range(NUMBER // 4):
        launch, url = f"{random.getrandbits(128):032x}", random.choice(ADDRESSES) + text(random)
        user = user_name(url, launch, 1 + number % 3)
        assert re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,40}", user), user
        assert launch[:8] not in user
        users.add(user)
        servers.add(server_id(launch, 1))
    assert len(users) == len(servers) == NUMBER // 4


