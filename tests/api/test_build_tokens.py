"""Build tokens: issued on launch pages as BinderHub's, checked where a launch is made."""

import json
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any

import httpx
import jwt
import pytest
from pydantic import SecretStr

from api.build_tokens import BuildTokens
from services.errors import Misconfigured
from services.secrets import Secret
from services.settings import FrontSettings, Settings, load
from tests.api.live import ADMIN, Live

KEY = "ab" * 32
HOST = "127.0.0.1:8000"
LINK = "gh/norvig/pytudes/feature%2Fx"


def tokens(**values: str) -> BuildTokens:
    environ = {f"DOCKYARD_FRONT_BUILD_TOKEN_{key.upper()}": value for key, value in values.items()}
    return BuildTokens(load({"DOCKYARD_FRONT_BUILD_TOKEN_SECRET": KEY, **environ}).front, Secret("00" * 32))


def test_the_claims_are_those_of_binderhub():
    claims = jwt.decode(tokens().issue(LINK, HOST), bytes.fromhex(KEY), ["HS256"], audience=LINK)
    assert claims.keys() == {"exp", "aud", "origin"}
    assert (claims["aud"], claims["origin"]) == (LINK, HOST)


@pytest.mark.parametrize(
    ("link", "origin", "valid"),
    [
        (LINK, HOST, True), (f"{LINK}/", HOST, True), (LINK, "elsewhere.example", False), (LINK, "", False),
        ("gh/norvig/pytudes/feature/x", HOST, False), ("gh/norvig/pytudes/HEAD", HOST, False), ("", HOST, False),
    ],
)
def test_a_token_is_good_for_its_link_and_its_pages(link, origin, valid):
    assert tokens().valid(tokens().issue(LINK, HOST), link, origin) is valid


def test_a_doi_keeps_its_slash_or_not():
    token = tokens().issue("zenodo/10.5281/zenodo.3242074/", HOST)
    assert tokens().valid(token, "zenodo/10.5281/zenodo.3242074", HOST)


def test_an_origin_need_not_be_checked():
    assert tokens(check_origin="false").valid(tokens().issue(LINK, HOST), LINK, "elsewhere.example")


@pytest.mark.parametrize(
    ("claims", "algorithm", "key"),
    [
        ({"exp": 1}, "HS256", KEY), ({"aud": "gh/a/b/HEAD"}, "HS256", KEY), ({}, "HS256", "cd" * 32), ({}, "HS512", KEY),
        ({}, "none", ""), ({"exp": None}, "HS256", KEY), ({"origin": None}, "HS256", KEY),
    ],
)
@pytest.mark.filterwarnings("ignore:The HMAC key is:jwt.warnings.InsecureKeyLengthWarning")
def test_what_another_key_time_or_form_has_made_is_refused(claims, algorithm, key):
    made = {name: value for name, value in ({"exp": 1 << 40, "aud": LINK, "origin": HOST} | claims).items() if value is not None}
    assert not tokens().valid(jwt.encode(made, bytes.fromhex(key) or None, algorithm), LINK, HOST)


@pytest.mark.parametrize("token", ["x", "a.b.c", "..", "é", "=" * 9000])
def test_what_is_no_token_is_refused(token):
    assert not tokens().valid(token, LINK, HOST)


def test_without_a_key_of_its_own_it_is_derived():
    one, same, other = (BuildTokens(FrontSettings(), Secret(key * 32)) for key in ("00", "00", "01"))
    token = one.issue(LINK, HOST)
    assert (same.valid(token, LINK, HOST), other.valid(token, LINK, HOST)) == (True, False)


@pytest.mark.parametrize("key", ["not hex", "ab" * 31])
def test_a_key_that_is_none_is_named(key):
    with pytest.raises(Misconfigured, match=r"front\.build_token_secret"):
        BuildTokens(FrontSettings(build_token_secret=SecretStr(key)), Secret("00" * 32))


# -- over http ---------------------------------------------------------------------------------------------------


@pytest.fixture
async def narrow(settings: Settings) -> AsyncIterator[Live]:
    """A front door that allows one launch an hour per client, and five under way."""
    limits = load({"DOCKYARD_LIMITS_LAUNCHES_PER_HOUR": "1", "DOCKYARD_LIMITS_OPEN_PER_CLIENT": "5"}).limits
    front = load({"DOCKYARD_FRONT_PORT": "0", "DOCKYARD_FRONT_HOSTS": "*"}).front
    async with Live(replace(settings, limits=limits, front=front)) as found:
        yield found


def page_config(html: str) -> dict[str, Any]:
    """As BinderHub's own tests read it: the first script in the head, with nothing before and behind."""
    found = re.search(r"<head>.*?<script[^>]*>(.*?)</script>", html, re.DOTALL)
    assert found is not None
    return json.loads(found[1].strip().removeprefix("window.pageConfig = ").removesuffix(";"))


async def first(front: Live, query: str = "", headers: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The first event of a launch; it goes on without us."""
    async with httpx.AsyncClient(timeout=120) as http, http.stream("GET", front.at(f"/build/{LINK}{query}"), headers=headers) as response:
        async for line in response.aiter_lines():
            if line.startswith("data: "):
                return json.loads(line[6:])
    raise AssertionError("nothing was said")


async def test_only_launch_pages_carry_one(http, front):
    config = page_config((await http.get(f"/v2/{LINK}")).text)
    assert front.services.tokens.valid(config["buildToken"], LINK, HOST)
    for path in ("/", "/about", f"/launches/{await front.launch()}"):
        assert "buildToken" not in page_config((await http.get(path)).text)


async def test_what_a_page_of_ours_asks_for_counts_against_no_rate(narrow):
    async with httpx.AsyncClient(timeout=120) as http:
        token = page_config((await http.get(narrow.at(f"/v2/{LINK}"))).text)["buildToken"]
    for _ in range(3):
        assert (await first(narrow, f"?build_token={token}"))["phase"] == "waiting"
    assert (await first(narrow))["phase"] == "waiting"  # the three have left room for this one
    assert (await first(narrow))["status_code"] == 429
    assert (await first(narrow, f"?build_token={token}"))["phase"] == "waiting"
    assert (await first(narrow, "?build_token="))["status_code"] == 429
    async with httpx.AsyncClient(timeout=120) as http:
        refused = await http.get(narrow.at(f"/build/{LINK}"))
    assert refused.text.startswith(f"retry: {int(refused.headers['retry-after']) * 1000}\n")
    said = await first(narrow, f"?build_token={token}")  # under way is under way: whoever opens pages has tokens without end
    assert (said["status_code"], said["limit"]) == (429, "open_per_client")


async def test_an_invalid_one_is_told_in_an_event(narrow):
    token = narrow.services.tokens.issue(LINK, "elsewhere.example")
    refused = {"phase": "failed", "status_code": 403, "message": "Invalid build token\n"}
    for wrong in (token, "x", narrow.services.tokens.issue("gh/a/b/HEAD", narrow.at("").removeprefix("http://"))):
        assert await first(narrow, f"?build_token={wrong}") == refused


@pytest.fixture
async def strict(settings: Settings) -> AsyncIterator[Live]:
    """A front door that takes launches of its own pages only."""
    front = load({"DOCKYARD_FRONT_PORT": "0", "DOCKYARD_FRONT_HOSTS": "*", "DOCKYARD_FRONT_BUILD_TOKEN_REQUIRED": "true"}).front
    async with Live(replace(settings, front=front)) as found:
        yield found


async def test_where_they_are_required_our_pages_bring_one(strict):
    body = {"provider": "gh", "spec": LINK.removeprefix("gh/")}
    async with httpx.AsyncClient(timeout=120) as http:
        page = (await http.get(strict.at(f"/v2/{LINK}"))).text
        token, page_config_of = re.search(r'name="build_token" value="([^"]+)"', page)[1], page_config(page)
        form = await http.post(strict.at(f"/v2/{LINK}"), data={"build_token": token})
        bare = await http.post(strict.at(f"/v2/{LINK}"))
        rest = await http.post(strict.at("/api/v1/launches"), json={**body, "build_token": token})
        other = await http.post(strict.at("/api/v1/launches"), json={**body, "spec": "a/b/HEAD", "build_token": token})
        admin = await http.post(strict.at("/api/v1/launches"), json=body, headers={"authorization": f"Bearer {ADMIN}"})
        ended = (await http.get(strict.at(form.headers["location"]))).text
    assert (form.status_code, rest.status_code, admin.status_code) == (303, 202, 202)
    assert (bare.status_code, other.status_code, other.json()["code"]) == (403, 403, "build_token")
    assert 'data-token="' in ended
    assert (await first(strict))["status_code"] == 403
    assert (await first(strict, f"?build_token={page_config_of['buildToken']}"))["phase"] == "waiting"
