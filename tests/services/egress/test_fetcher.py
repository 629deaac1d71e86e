"""The client obeys the rule on every hop: a canary on loopback sees nothing, wherever the redirects lead."""

import asyncio
import ipaddress
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web

from services.egress import Address, Fetcher, Purpose, Rule
from services.errors import ForbiddenAddress, Unreachable
from services.settings import EgressSettings

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Site:
    """A web server on a free port of loopback that keeps what it was asked."""

    def __init__(self) -> None:
        self.pages: dict[str, Handler] = {}
        self.requests: list[web.BaseRequest] = []
        self.port = 0

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self.requests.append(request)
        page = self.pages.get(request.path)
        return await page(request) if page else web.Response(text="here")  # type: ignore[arg-type]

    def redirect(self, path: str, location: str, status: int = 302) -> None:
        async def page(_request: web.Request) -> web.StreamResponse:
            return web.Response(status=status, headers={"Location": location})

        self.pages[path] = page


async def serve() -> AsyncIterator[Site]:
    site = Site()
    runner = web.ServerRunner(web.Server(site.answer), shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    site.port = runner.addresses[0][1]
    yield site
    await runner.cleanup()


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async for site in serve():
        yield site


@pytest.fixture
async def canary() -> AsyncIterator[Site]:
    async for site in serve():
        yield site


async def loopback(_host: str, _port: int) -> list[Address]:
    return [ipaddress.ip_address("127.0.0.1")]


@pytest.fixture
async def fetcher(site: Site) -> AsyncIterator[Fetcher]:
    """Under the production rule, but that one host is trusted on its port."""
    trusted = frozenset({("good.example", site.port), ("also.example", site.port)})
    fetcher = Fetcher(Rule(Purpose.FETCH, trusted=trusted, resolver=loopback), timeout=120, limit=1 << 20)
    yield fetcher
    await fetcher.aclose()


async def test_an_answer(site: Site, fetcher: Fetcher) -> None:
    async def page(request: web.Request) -> web.StreamResponse:
        return web.json_response({"q": request.rel_url.raw_query_string}, status=404, headers={"X-Seen": "Yes"})

    site.pages["/a%2Fb"] = site.pages["/a/b"] = page
    answer = await fetcher.get(f"http://good.example:{site.port}/a%2Fb?x=%20y")
    assert answer.status == 404
    assert answer.json() == {"q": "x=%20y"}
    assert answer.headers["x-seen"] == "Yes"
    assert site.requests[0].raw_path == "/a%2Fb?x=%20y"
    assert site.requests[0].headers["Host"] == f"good.example:{site.port}"


@pytest.mark.parametrize(
    "target",
    [
        "http://127.0.0.1:{port}/", "http://localhost:{port}/", "http://[::1]:{port}/", "http://2130706433:{port}/",
        "http://evil.example:{port}/", "//evil.example:{port}/", "http://[::ffff:127.0.0.1]:{port}/",
        "http://0.0.0.0:{port}/", "http://169.254.169.254/latest/meta-data", "file:///etc/passwd",
        "http://user:secret@good.example:{port}/", "gopher://127.0.0.1:{port}/", "http://127.1:{port}/",
        "http://good.example:99999/", "http://good.example:{port}x/",
    ],
)
@pytest.mark.parametrize("hops", [0, 1, 2])
async def test_redirects_do_not_lead_where_links_may_not(
    site: Site, canary: Site, fetcher: Fetcher, target: str, hops: int
) -> None:
    address = target.format(port=canary.port)
    for hop in range(hops):
        site.redirect(f"/{hop}", f"/{hop + 1}" if hop + 1 < hops else address)
    start = f"http://good.example:{site.port}/0" if hops else address
    if not hops and start.startswith("//"):
        start = f"http:{start}"
    with pytest.raises(ForbiddenAddress) as caught:
        await fetcher.get(start)
    assert "secret" not in str(caught.value)
    assert canary.requests == []


async def test_allowed_redirects_are_followed_without_credentials(site: Site, fetcher: Fetcher) -> None:
    site.redirect("/a", f"http://also.example:{site.port}/b", 301)
    site.redirect("/b", "c?d=1", 308)
    answer = await fetcher.get(f"http://good.example:{site.port}/a", {"Authorization": "Bearer x", "Accept": "y"})
    assert (answer.status, answer.body) == (200, b"here")
    assert answer.url == f"http://also.example:{site.port}/c?d=1"
    assert [request.headers.get("Authorization") for request in site.requests] == ["Bearer x", None, None]
    assert {request.headers.get("Accept") for request in site.requests} == {"y"}


async def test_a_loop_ends(site: Site, fetcher: Fetcher) -> None:
    site.redirect("/loop", "/loop")
    with pytest.raises(Unreachable, match="redirects without end"):
        await fetcher.get(f"http://good.example:{site.port}/loop")
    assert len(site.requests) == 6


async def test_https_is_not_left() -> None:
    from services.egress.fetcher import _next, _parsed

    with pytest.raises(ForbiddenAddress, match="unencrypted"):
        _next(_parsed("https://good.example/a"), "http://good.example/b")
    assert str(_next(_parsed("http://good.example/a"), "https://good.example/b%2Fc")) == "https://good.example/b%2Fc"


async def test_a_name_that_changes_its_address_is_asked_once_per_connection(site: Site, canary: Site) -> None:
    answers = iter(["127.0.0.2", "127.0.0.1"])
    asked: list[str] = []

    async def rebinding(host: str, _port: int) -> list[Address]:
        asked.append(host)
        return [ipaddress.ip_address(next(answers))]

    # The first answer passes the rule, and nothing listens there; the second must not be looked up at all.
    settings = EgressSettings(allowed=[f"127.0.0.2:{canary.port}"])
    fetcher = Fetcher(Rule.make(settings, Purpose.FETCH, resolver=rebinding), timeout=120)
    with pytest.raises(Unreachable):
        await fetcher.get(f"http://rebind.example:{canary.port}/")
    await fetcher.aclose()
    assert asked == ["rebind.example"]
    assert canary.requests == []


async def test_bounds(site: Site, fetcher: Fetcher) -> None:
    async def flood(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(32):
            await response.write(b"x" * 65536)
        return response

    over = asyncio.Event()

    async def silence(_request: web.Request) -> web.StreamResponse:
        await over.wait()
        return web.Response()

    async def words(_request: web.Request) -> web.StreamResponse:
        return web.Response(text="<html>")

    site.pages |= {"/flood": flood, "/silence": silence, "/words": words}
    with pytest.raises(Unreachable, match="more than 1 MiB"):
        await fetcher.get(f"http://good.example:{site.port}/flood")
    quick = Fetcher(Rule(Purpose.FETCH, private=True), timeout=0.2)
    with pytest.raises(Unreachable, match=r"did not answer within 0\.2 s"):
        await quick.get(f"http://127.0.0.1:{site.port}/silence")
    with pytest.raises(Unreachable, match="not JSON"):
        (await fetcher.get(f"http://good.example:{site.port}/words")).json()
    await quick.aclose()
    over.set()


async def test_nobody_there(fetcher: Fetcher, site: Site, unused_tcp_port: int) -> None:
    fetcher = Fetcher(Rule(Purpose.FETCH, private=True), timeout=120)
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1 cannot be reached"):
        await fetcher.get(f"http://127.0.0.1:{unused_tcp_port}/")
    await fetcher.aclose()
