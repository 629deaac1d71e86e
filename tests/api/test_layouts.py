"""`subdir` and `environment`: in links, pages, `/build` and the REST api, and what is refused of them."""

import pytest
import sqlalchemy as sa

from services.names import image_name
from tests.api.test_pages import TYPED, config

SHA, OTHER = "0" * 39 + "1", "0" * 39 + "2"
ENV = "git/https%3A%2F%2Fexample.org%2Fenv/" + OTHER


async def rows(front):
    return [row._asdict() for row in await front.process.db.rows(
        sa.text("SELECT id, subdir, environment_link, environment_source, image FROM launch ORDER BY created_at"))]


async def test_a_launch_page_asks_for_what_its_address_says(http, front):
    response = await http.get("/v2/gh/a/b/HEAD", params={"subdir": "course//week 1/", "environment": "gh/c/d/main"}, headers=TYPED)
    asked = config(response.text)["launch"]
    assert (asked["subdir"], asked["environment"]) == ("course/week 1", "gh/c/d/main")
    assert "course/week 1" in response.text
    made = await http.post("/v2/gh/a/b/HEAD?subdir=course&environment=gh%2Fc%2Fd%2Fmain&urlpath=lab", headers=TYPED)
    assert made.status_code == 303
    page = (await http.get(made.headers["location"], headers=TYPED)).text
    assert (config(page)["launch"]["subdir"], config(page)["launch"]["environment"]) == ("course", "gh/c/d/main")
    assert [(row["subdir"], row["environment_link"]) for row in await rows(front)] == [("course", "gh/c/d/main")]


async def test_both_commits_are_known_where_both_are_pinned(http, front):
    body = {"provider": "gh", "spec": f"a/b/{SHA}", "subdir": "x/./y/", "environment": ENV}
    launch = (await http.post("/api/v1/launches", json=body)).json()
    assert (launch["subdir"], launch["environment"], launch["environment_ref"]) == ("x/y", ENV, OTHER)
    found = (await rows(front))[0]
    assert found["environment_source"] == {
        "provider": "git", "repo_url": "https://example.org/env", "commit": OTHER, "ref": "",
        "spec": f"https%3A%2F%2Fexample.org%2Fenv/{OTHER}",
    }
    assert found["image"] == image_name("", "a-b", SHA, subdir="x/y", environment=f"https://example.org/env@{OTHER}")
    await http.post("/api/v1/launches", json={"provider": "gh", "spec": f"a/b/{SHA}", "environment": "gh/c/d/main"})
    assert (await rows(front))[1]["image"] is None, "it is not known before the environment has been looked up"


async def test_an_environment_may_be_pasted(http, front):
    body = {"link": "https://github.com/a/b", "environment": "https://github.com/c/d/tree/main"}
    assert (await http.post("/api/v1/launches", json=body)).json()["environment"] == "gh/c/d/main"


async def test_links_and_badges_keep_them(http):
    link = "http://127.0.0.1:8000/v2/gh/a/b/HEAD?subdir=x%20y&environment=gh/c/d/main&labpath=n.ipynb"
    for query in ({"link": link}, {"provider": "gh", "repo": "a/b", "path": "n.ipynb", "subdir": "x y", "environment": "gh/c/d/main"}):
        body = (await http.get("/api/v1/links", params=query)).json()
        assert body["launch"] == "/v2/gh/a/b/HEAD?subdir=x%20y&environment=gh/c/d/main&labpath=n.ipynb"
        assert all(body["page"] in badge for badge in body["badges"].values())
    made = (await http.post("/api/v1/launches", json={"link": link})).json()
    assert (made["subdir"], made["environment"], made["urlpath"]) == ("x y", "gh/c/d/main", "doc/tree/n.ipynb")


@pytest.mark.parametrize(("query", "words"), [
    ({"subdir": "../x"}, "has to be a path inside of the repository"),
    ({"subdir": "a/../b"}, "has to be a path inside of the repository"),
    ({"subdir": "/etc"}, "has to be a path inside of the repository"),
    ({"subdir": "--config"}, "has to be a path inside of the repository"),
    ({"subdir": "a/.git/hooks"}, "has to be a path inside of the repository"),
    ({"subdir": "a\\b"}, "has to be a path inside of the repository"),
    ({"subdir": "a\nb"}, "has characters that no path should have"),
    ({"subdir": "a" * 501}, "more than 500 characters"),
    ({"environment": "gh/only-one"}, "The environment repository: Spec is not of the form"),
    ({"environment": "nowhere/a/b/c"}, "The environment repository: No provider found"),
    ({"environment": "git/file%3A%2F%2F%2Fetc/HEAD"}, "The environment repository: Unsupported git url"),
    ({"environment": "https://github.com/"}, "The environment repository: "),
])
async def test_what_is_refused(http, front, query, words):
    page = await http.get("/v2/gh/a/b/HEAD", params=query, headers=TYPED)
    assert page.status_code in (400, 403, 404)
    stream = await http.get("/build/gh/a/b/HEAD", params=query, headers={"accept": "text/event-stream"})
    assert words in stream.text.replace('\\"', '"')
    assert (await http.post("/api/v1/launches", json={"provider": "gh", "spec": "a/b/HEAD"} | query)).status_code in (400, 403, 404, 422)
    assert await rows(front) == []
