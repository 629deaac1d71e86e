"""The ops page and who may see it."""

import time

import pytest

TOKEN = "the-admin-token-of-the-tests"
PAGE = {"accept": "text/html"}
REASON = {"code": "build_failed", "message": "pip could not find a package named 'torchh'.", "hint": ""}


async def signed_in(http):
    response = await http.post("/ops/login", data={"token": TOKEN}, headers=PAGE)
    assert (response.status_code, response.headers["location"]) == (303, "/ops")
    return response.headers["set-cookie"]


async def test_a_stranger_sees_a_form_and_nothing_else(http, front):
    launch, _ = await front.building()
    page = await http.get("/ops", headers=PAGE)
    assert 'type="password"' in page.text
    assert launch not in page.text
    assert (await http.post("/ops/login", data={"token": "wrong"}, headers=PAGE)).status_code == 403
    for method, path in (("GET", "/ops/part"), ("POST", f"/ops/launches/{launch}/end"), ("POST", f"/ops/builds/{launch}/end")):
        assert (await http.request(method, path)).status_code == 401
    assert (await http.get(f"/api/v1/launches/{launch}")).json()["state"] == "building"


async def test_the_token_opens_the_page(http, front):
    launch, build = await front.building()
    failed, broken = await front.building()
    await front.fail(failed, broken, REASON, 0)
    cookie = await signed_in(http)
    assert TOKEN not in cookie
    assert "httponly" in cookie.lower()
    assert "samesite=strict" in cookie.lower()
    assert "path=/ops;" in cookie.lower()
    text = (await http.get("/ops", headers=PAGE)).text
    for known in (launch, build, "build_failed", "Launches cannot be served.", "JupyterHub API does not answer"):
        assert known in text
    assert 'id="part"' in (await http.get("/ops/part")).text
    assert (await http.post(f"/ops/launches/{launch}/end")).status_code == 303
    assert (await http.get(f"/api/v1/launches/{launch}")).json()["state"] == "cancelled"
    assert (await http.post(f"/ops/builds/{build}/end")).status_code == 303
    await http.post("/ops/logout")
    assert (await http.get("/ops/part")).status_code == 401


async def test_the_cookie_is_no_admin_token_elsewhere(http):
    await signed_in(http)
    value = next(iter(http.cookies.jar)).value
    response = await http.get("/api/v1/launches", headers={"cookie": f"dockyard-ops={value}"})
    assert response.status_code == 401


@pytest.mark.parametrize("value", ["", "x", "99999999999.", "99999999999." + "0" * 64, "1.abc", "٣.x", "9" * 400])
async def test_a_forged_cookie_opens_nothing(http, value):
    response = await http.get("/ops/part", headers={"cookie": f"dockyard-ops={value}".encode()})
    assert response.status_code == 401


@pytest.mark.parametrize(("hours", "status"), [(1, 200), (-1, 401)])
async def test_a_cookie_runs_out(http, front, hours, status):
    until = int(time.time()) + hours * 3600
    proof = front.services.secret.derive("ops", f"{until}\n{TOKEN}").hex()
    assert (await http.get("/ops/part", headers={"cookie": f"dockyard-ops={until}.{proof}"})).status_code == status
