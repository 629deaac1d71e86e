"""What stands in front of the routes: names, origins, addresses, headers, sizes."""

import json

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse

from api.middleware import around
from api.middleware.client import TrustedProxies, address, client_address, networks
from api.middleware.host import split_host
from services.errors import Misconfigured
from services.settings import FrontSettings

EVIL = "https://evil.example"


async def echo(scope, receive, send):
    """The innermost app: says what reached it, and reads the body."""
    request = Request(scope, receive)
    body = await request.body()
    if scope["path"] == "/big":
        await PlainTextResponse("x" * 5000)(scope, receive, send)
        return
    said = {"path": scope["path"], "scheme": scope["scheme"], "client": scope["client"][0], "body": len(body)}
    await JSONResponse(said | {"host": request.headers.get("host")})(scope, receive, send)


def client(*, peer="127.0.0.1", **front):
    app = around(echo, FrontSettings(**front))
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=app, client=(peer, 5000)), base_url="http://127.0.0.1:8000")


def events(response):
    return [json.loads(line[6:]) for line in response.text.splitlines() if line.startswith("data: ")]


@pytest.mark.parametrize(
    ("host", "front", "status"),
    [
        ("127.0.0.1:8000", {}, 200),
        ("localhost:8000", {}, 200),
        ("LOCALHOST:8000", {}, 200),
        ("[::1]:8000", {}, 200),
        ("127.0.0.1", {}, 421),
        ("127.0.0.1:8001", {}, 421),
        ("127.0.0.1:80800", {}, 421),
        ("127.0.0.1:8000.evil.example", {}, 421),
        ("evil.example:8000", {}, 421),
        ("localhost.evil.example:8000", {}, 421),
        ("localhost", {"port": 80}, 200),
        ("evil.example", {"hosts": ["*"]}, 200),
        ("binder.example.org", {"hosts": ["binder.example.org"]}, 200),
        ("binder.example.org:8443", {"hosts": ["binder.example.org"]}, 200),
        ("binder.example.org:8443", {"hosts": ["binder.example.org:8443"]}, 200),
        ("binder.example.org:9999", {"hosts": ["binder.example.org:8443"]}, 421),
        ("127.0.0.1:8000", {"hosts": ["binder.example.org"]}, 421),
        ("binder.example.org", {"public_url": "https://binder.example.org/"}, 200),
        ("127.0.0.1:8000", {"public_url": "https://binder.example.org/"}, 200),
    ],
)
async def test_only_our_names_are_answered(host, front, status):
    async with client(**front) as http:
        response = await http.get("/build/gh/o/r/HEAD", headers={"host": host})
    assert response.status_code == status
    assert status == 200 or response.text.count("\n") == 1


async def test_probes_are_answered_under_any_name():
    async with client() as http:
        assert (await http.get("/livez", headers={"host": "10.2.3.4:8000"})).status_code == 200
        assert (await http.get("/metrics", headers={"host": "10.2.3.4:8000"})).status_code == 421
    async with client(hosts=["binder.example.org"]) as http:
        assert (await http.get("/metrics", headers={"host": "10.2.3.4:8000"})).status_code == 200


@pytest.mark.parametrize(
    ("text", "scheme", "found"),
    [
        ("a.example", "http", ("a.example", 80)), ("A.example.:81", "http", ("a.example", 81)),
        ("[::1]", "https", ("[::1]", 443)), ("[::1]:9", "http", ("[::1]", 9)), ("a:x", "http", ("a", None)),
        ("a:٣", "http", ("a", None)),
    ],
)
def test_a_host_header_is_split(text, scheme, found):
    assert split_host(text, scheme) == found


# What a browser sends: Sec-Fetch-Site, Sec-Fetch-Mode, Origin.
OWN = {"sec-fetch-site": "same-origin", "sec-fetch-mode": "cors", "origin": "http://127.0.0.1:8000"}
OWN_OLD = {"origin": "http://127.0.0.1:8000"}
TYPED = {"sec-fetch-site": "none", "sec-fetch-mode": "navigate"}
SCRIPT_ELSEWHERE = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "cors", "origin": EVIL}
IMAGE_ELSEWHERE = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}
USER_SERVER = {"sec-fetch-site": "same-site", "sec-fetch-mode": "cors", "origin": "http://127.0.0.1:8001"}
OLD_BROWSER_ELSEWHERE = {"origin": EVIL}
SANDBOXED = {"origin": "null"}
LINK_ELSEWHERE = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
FORM_ELSEWHERE = LINK_ELSEWHERE | {"origin": EVIL}
STRANGERS = [SCRIPT_ELSEWHERE, IMAGE_ELSEWHERE, USER_SERVER, OLD_BROWSER_ELSEWHERE, SANDBOXED]


@pytest.mark.parametrize("headers", [{}, OWN, OWN_OLD, TYPED])
@pytest.mark.parametrize(("method", "path"), [("GET", "/build/gh/o/r/HEAD"), ("POST", "/api/v1/launches")])
async def test_own_pages_and_programs_may_do_everything(headers, method, path):
    async with client() as http:
        response = await http.request(method, path, headers=headers)
    assert response.json()["path"] == path
    assert "access-control-allow-origin" not in response.headers


@pytest.mark.parametrize("headers", STRANGERS)
async def test_another_origin_gets_one_refusal_from_build(headers):
    async with client() as http:
        response = await http.get("/build/gh/o/r/HEAD", headers=headers)
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/event-stream")
    (event,) = events(response)
    assert (event["phase"], event["status_code"]) == ("failed", 403)
    assert "front.origins" in event["message"]


@pytest.mark.parametrize("headers", STRANGERS)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/v1/launches"), ("GET", "/api/v1/launches/x"), ("GET", "/api/v1/launches/x/events"),
        ("DELETE", "/api/v1/launches/x"), ("POST", "/v2/gh/o/r/HEAD"), ("OPTIONS", "/api/v1/launches"),
        ("OPTIONS", "/build/gh/o/r/HEAD"), ("POST", "/ops/login"), ("GET", "/ops/data"),
    ],
)
async def test_another_origin_may_neither_start_nor_read(headers, method, path):
    async with client() as http:
        response = await http.request(method, path, headers=headers)
    assert response.status_code == 403
    assert "access-control-allow-origin" not in response.headers


async def test_a_form_elsewhere_starts_nothing():
    async with client() as http:
        assert (await http.post("/v2/gh/o/r/HEAD", headers=FORM_ELSEWHERE)).status_code == 403


@pytest.mark.parametrize("path", ["/v2/gh/o/r/HEAD", "/", "/launches/x", "/api/v1/builds/x/log"])
async def test_links_from_elsewhere_are_followed(path):
    async with client() as http:
        assert (await http.get(path, headers=LINK_ELSEWHERE)).json()["path"] == path


async def test_a_link_to_build_leads_to_the_launch_page():
    async with client(base_url="/b/") as http:
        response = await http.get("/b/build/gh/o/r/feature%2Fx?urlpath=lab", headers=LINK_ELSEWHERE)
    assert response.status_code == 303
    assert response.headers["location"] == "/b/v2/gh/o/r/feature%2Fx?urlpath=lab"


@pytest.mark.parametrize("path", ["/versions", "/health", "/badge_logo.svg", "/badge.svg", "/api/repoproviders"])
async def test_badges_and_versions_are_open_to_all(path):
    async with client() as http:
        response = await http.get(path, headers=SCRIPT_ELSEWHERE)
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == "*"


@pytest.mark.parametrize(("origins", "told"), [([EVIL], EVIL), (["*"], "*"), ([EVIL.upper() + "/"], EVIL)])
async def test_an_allowed_origin_reads_and_starts(origins, told):
    async with client(origins=origins) as http:
        response = await http.get("/build/gh/o/r/HEAD", headers=SCRIPT_ELSEWHERE)
        assert response.json()["path"] == "/build/gh/o/r/HEAD"
        assert response.headers["access-control-allow-origin"] == told
        stranger = SCRIPT_ELSEWHERE | {"origin": "https://other.example"}
        other = await http.get("/build/gh/o/r/HEAD", headers=stranger)
    assert ("path" in other.text) is (origins == ["*"])


async def test_a_preflight_of_an_allowed_origin_passes():
    asked = {"access-control-request-method": "GET", "access-control-request-headers": "last-event-id"}
    async with client(origins=[EVIL]) as http:
        response = await http.options("/build/gh/o/r/HEAD", headers=SCRIPT_ELSEWHERE | asked)
        local = await http.options(
            "/build/x/y", headers=SCRIPT_ELSEWHERE | {"access-control-request-private-network": "true"}
        )
    assert response.status_code == 204
    allowed = set(response.headers["access-control-allow-headers"].split(", "))
    wanted = {"last-event-id", "x-xsrftoken", "authorization", "cache-control", "content-type", "idempotency-key"}
    assert allowed >= wanted
    assert response.headers["access-control-allow-origin"] == EVIL
    assert local.headers["access-control-allow-private-network"] == "true"


PROXIES = ("10.0.0.0/8", "2001:db8::/32")


@pytest.mark.parametrize(
    ("peer", "forwarded", "found"),
    [
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "198.51.100.7", "198.51.100.7"),
        ("10.0.0.1", "1.2.3.4, 198.51.100.7", "198.51.100.7"),
        ("10.0.0.1", "1.2.3.4, 198.51.100.7, 10.9.9.9", "198.51.100.7"),
        ("10.0.0.1", "10.3.3.3, 10.2.2.2", "10.3.3.3"),
        ("10.0.0.1", "1.2.3.4, nonsense, 10.2.2.2", "10.2.2.2"),
        ("10.0.0.1", "1.2.3.4, nonsense", "10.0.0.1"),
        ("10.0.0.1", "198.51.100.7:4711", "198.51.100.7"),
        ("10.0.0.1", "[2001:db9::7]:4711", "2001:db9::7"),
        ("10.0.0.1", "2001:db9::7", "2001:db9::7"),
        ("2001:db8::1", "::ffff:198.51.100.7", "198.51.100.7"),
        ("198.51.100.9", "1.2.3.4", "198.51.100.9"),
        ("::ffff:10.0.0.1", "198.51.100.7", "198.51.100.7"),
        ("2001:db8::1", "1.2.3.4, 2001:db9::7, 2001:db8::2, 10.0.0.2", "2001:db9::7"),
        ("10.0.0.1", "127.0.0.1, 198.51.100.7", "198.51.100.7"),  # nobody becomes this machine
        ("10.0.0.1", "10.0.0.9, 198.51.100.7", "198.51.100.7"),  # or one of our proxies
        ("10.0.0.1", "1.2.3.4,,198.51.100.7", "198.51.100.7"),
        ("10.0.0.1", "1.2.3.4,, 10.2.2.2", "10.2.2.2"),
        ("10.0.0.1", ", ,", "10.0.0.1"),
        ("10.0.0.1", "9" * 5000, "10.0.0.1"),
        ("10.0.0.1", "1.2.3.4, é\x00, 10.2.2.2", "10.2.2.2"),
        ("10.0.0.1", "0x7f.1", "10.0.0.1"),
    ],
)
def test_the_client_is_the_last_one_that_no_proxy_of_ours_is(peer, forwarded, found):
    assert client_address(peer, forwarded, networks(PROXIES)) == found


@pytest.mark.parametrize(
    ("text", "found"), [("", None), ("x", None), ("127.0.0.1:x", "127.0.0.1"), ("fe80::1%eth0", "fe80::1")]
)
def test_an_address_is_read(text, found):
    assert (str(address(text)) if address(text) else None) == found


async def test_forwarded_headers_count_only_from_trusted_peers():
    said = {"x-forwarded-for": "198.51.100.7", "x-forwarded-proto": "https", "x-forwarded-host": "binder.example.org"}
    front = {"trusted_proxies": ["10.0.0.0/8"], "hosts": ["*"]}
    async with client(peer="10.0.0.1", **front) as http:
        trusted = (await http.get("/x", headers=said)).json()
    async with client(peer="192.0.2.1", **front) as http:
        other = (await http.get("/x", headers=said)).json()
    found = trusted["client"], trusted["scheme"], trusted["host"]
    assert found == ("198.51.100.7", "https", "binder.example.org")
    assert (other["client"], other["scheme"], other["host"]) == ("192.0.2.1", "http", "127.0.0.1:8000")


async def test_a_second_line_of_the_header_goes_on_with_the_first():
    """A client has written one and the proxy has added another: the proxy's is the later one."""
    lines = [("x-forwarded-for", "203.0.113.66"), ("x-forwarded-for", "198.51.100.7"), ("x-real-ip", "203.0.113.66")]
    async with client(peer="10.0.0.1", trusted_proxies=["10.0.0.0/8"], hosts=["*"]) as http:
        assert (await http.get("/x", headers=lines)).json()["client"] == "198.51.100.7"


def test_a_wrong_proxy_network_names_its_setting():
    with pytest.raises(Misconfigured, match=r"front\.trusted_proxies"):
        TrustedProxies(echo, ["not a network"])


@pytest.mark.parametrize(
    ("path", "status", "inner"),
    [
        ("/binder/build/gh/o/r/x%2Fy", 200, "/build/gh/o/r/x%2Fy"), ("/binder/", 200, "/"),
        ("/binder", 302, None), ("/", 404, None), ("/build/gh/o/r/x", 404, None), ("/binderx/", 404, None),
    ],
)
async def test_everything_is_below_the_base_path(path, status, inner):
    async with client(base_url="/binder/") as http:
        response = await http.get(path)
    assert response.status_code == status
    assert inner is None or response.json()["path"] == inner


@pytest.mark.parametrize(
    ("path", "headers"), [("/x", {}), ("/x", {"host": "evil.example"}), ("/build/gh/o/r/x", SCRIPT_ELSEWHERE)]
)
async def test_every_answer_has_the_security_headers(path, headers):
    async with client() as http:
        response = await http.get(path, headers=headers)
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["referrer-policy"] == "no-referrer"
    assert response.headers["x-frame-options"] == "DENY"
    assert response.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"


async def test_bodies_are_bounded():
    async def drops():
        for _ in range(300):
            yield b"x" * 1024

    async with client() as http:
        assert (await http.post("/x", content=b"x" * 1000)).json()["body"] == 1000
        assert (await http.post("/x", content=b"x" * (1 << 20))).status_code == 413
        with pytest.raises(Exception, match="too long"):
            await http.post("/x", content=drops())


async def test_pages_are_compressed_and_streams_are_not():
    async with client() as http:
        assert (await http.get("/big")).headers["content-encoding"] == "gzip"
        assert "content-encoding" not in (await http.get("/build/gh/o/r/HEAD")).headers
