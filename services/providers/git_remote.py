"""Which commit a ref of a git repository means, asked of the server itself.

One question for all who wait for it: HEAD and every full name that the ref may have. A branch goes before a
tag of the same name, as with `git checkout` and `git clone --branch` (and BinderHub); unlike `git
ls-remote`'s patterns nothing matches by the end of its name only.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from services.egress import Fetcher, Rule
from services.egress.logins import Login
from services.errors import DockyardError, RateLimited, Unreachable, Unresolved
from services.observe.breakers import PerHost
from services.providers.cache import Shared
from services.providers.grammar import GitUrl, git_url, looks_abbreviated
from services.providers.ls_remote import Moved, Refs, ls_remote

_SERVICE = "/info/refs?service=git-upload-pack"
_HOPS = 3


@dataclass(frozen=True, slots=True)
class Tip:
    """What a ref means now."""

    commit: str
    name: str  # the full name of the ref, such as refs/heads/main; "HEAD" where it is detached
    note: str = ""  # a sentence for the user, where the ref could be read in two ways


class GitRemote:
    """Asks git servers; holds a client for their redirects and the questions that are under way.

    `login` gives the login for an address, if there is one.
    """

    def __init__(self, rule: Rule, *, timeout: float, login: Callable[[str], Login | None] = lambda _: None) -> None:
        self._rule, self._login = rule, login
        self._timeout = timeout
        self._fetcher = Fetcher(rule, timeout=timeout)
        self._breakers = PerHost("forge")
        self._shared: Shared[tuple[str, str], Tip] = Shared()

    async def tip(self, url: GitUrl, ref: str) -> Tip:
        """What `ref` (a checked one, or "HEAD") means at `url`.

        Raises `ForbiddenAddress` if the address may not be asked, `Unresolved` if there is no such
        repository or ref, `Forbidden`, `Unreachable` or `RateLimited`.
        """
        return await self._shared.get((url.text, ref), lambda: self._tip(url, ref))

    async def instead_of(self, error: Unreachable, url: GitUrl, ref: str) -> Tip:
        """What `ref` means, where a forge's API could not say because of `error`.

        Raises `error` again if the git server cannot say for sure either, `Unresolved` if it can.
        """
        try:
            return await self.tip(url, ref)
        except Unresolved:
            if looks_abbreviated(ref):
                raise error from None
            raise
        except DockyardError:
            raise error from None

    async def aclose(self) -> None:
        """Stop asking."""
        await self._shared.aclose()
        await self._fetcher.aclose()

    async def _tip(self, url: GitUrl, ref: str) -> Tip:
        names = candidates(ref)
        refs = await self._refs(url, ["HEAD", *names, *(f"{name}^{{}}" for name in names)])
        tip = chosen(ref, refs)
        if tip is not None:
            return tip
        raise Unresolved(await self._missing(url, ref, refs))

    async def _refs(self, url: GitUrl, patterns: list[str]) -> Refs:
        for _ in range(_HOPS):
            addresses = await self._rule.check(url.host, url.port)
            try:
                return await self._breakers.of(url.host).ask(partial(
                    ls_remote, url, patterns, addresses, self._timeout, self._login(url.at(url.host))), _says_away)
            except Moved:
                url = await self._moved(url)
        raise Unreachable(f"{url.host} redirects without end; check the link.")

    async def _moved(self, url: GitUrl) -> GitUrl:
        """Where the redirects of an address lead, every hop checked; git itself follows none."""
        answer = await self._fetcher.get(url.at(url.host) + _SERVICE, body=False)
        if answer.url.endswith(_SERVICE):
            moved = git_url(answer.url.removesuffix(_SERVICE))
            if moved.at(moved.host) != url.at(url.host):
                return replace(moved, text=url.text)
        raise Unreachable(f"{url.host} redirects {url.text} to something that is no git repository; check the link.")

    async def _missing(self, url: GitUrl, ref: str, refs: Refs) -> str:
        """A sentence that says what is there instead of what was asked for."""
        if looks_abbreviated(ref):
            return f'There is no branch or tag "{ref}" at {url.text}; a commit must be given with all 40 digits.'
        if ref != "HEAD" and "HEAD" in refs.ids:
            return f'There is no branch or tag "{ref}" at {url.text}.'
        try:
            everything = await self._refs(url, [])
        except DockyardError:
            return f'There is no "{ref}" at {url.text}.'
        branches = [name.removeprefix("refs/heads/") for name in everything.ids if name.startswith("refs/heads/")]
        if not branches:
            return f"The repository at {url.text} is empty, or is none; push a commit to it first."
        shown = ", ".join(branches[:5]) + (", …" if len(branches) > 5 else "")
        if ref == "HEAD":
            return f"The repository at {url.text} has no default branch; name one of its branches: {shown}."
        return f'There is no branch or tag "{ref}" at {url.text}; its branches are {shown}.'


def _says_away(error: Unreachable) -> bool:
    return error.away and not isinstance(error, RateLimited)


def candidates(ref: str) -> list[str]:
    """The full names that a ref may have, the likeliest first; none for HEAD."""
    if ref == "HEAD":
        return []
    if ref.startswith("refs/"):
        return [ref]
    return [f"refs/heads/{ref}", f"refs/tags/{ref}", f"refs/{ref}"]


def chosen(ref: str, refs: Refs) -> Tip | None:
    """The first of a ref's candidates that is there, an annotated tag as the commit that it names."""
    if ref == "HEAD":
        return Tip(refs.ids["HEAD"], refs.head or "HEAD") if "HEAD" in refs.ids else None
    there = [name for name in candidates(ref) if name in refs.ids]
    if not there:
        return None
    name = there[0]
    note = ""
    if len(there) > 1:
        note = f'"{ref}" is a branch and a tag; the branch is meant. Write "{there[1].removeprefix("refs/")}" for the tag.'
    return Tip(refs.ids.get(f"{name}^{{}}", refs.ids[name]), name, note)
