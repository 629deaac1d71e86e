"""`/api/v1/links` and the bodies' agreement with the client."""

import dataclasses

import pytest

from api import bodies
from dockyard_client import models


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"link": "norvig/pytudes"}, ("gh", "norvig/pytudes", "", "", "/v2/gh/norvig/pytudes/HEAD")),
        ({"link": "https://github.com/norvig/pytudes/tree/main/ipynb"},
         ("gh", "norvig/pytudes", "main", "ipynb/", "/v2/gh/norvig/pytudes/main?urlpath=lab/tree/ipynb")),
        ({"link": "http://127.0.0.1:8000/v2/gh/a/b/HEAD?urlpath=rstudio"},
         ("gh", "a/b", "", "/rstudio", "/v2/gh/a/b/HEAD?urlpath=rstudio")),
        ({"provider": "gh", "repo": "a/b", "ref": "feature/x"}, ("gh", "a/b", "feature/x", "", "/v2/gh/a/b/feature/x")),
        ({"provider": "gh", "repo": "a/b", "path": "c d.ipynb"}, ("gh", "a/b", "", "c d.ipynb", "/v2/gh/a/b/HEAD?labpath=c%20d.ipynb")),
        ({"provider": "gh", "repo": "a/b", "path": "/rstudio"}, ("gh", "a/b", "", "/rstudio", "/v2/gh/a/b/HEAD?urlpath=rstudio")),
    ],
)
async def test_a_link_is_read_and_made(http, query, found):
    body = (await http.get("/api/v1/links", params=query)).json()
    assert (body["provider"], body["repo"], body["ref"], body["path"], body["launch"]) == found
    assert body["page"] == "http://127.0.0.1:8000" + body["launch"]
    assert all(body["page"] in badge for badge in body["badges"].values())


@pytest.mark.parametrize("query", [{"link": "nonsense"}, {"provider": "gh"}, {"provider": "no", "repo": "x"}, {"link": "ftp://x/y"}])
async def test_what_cannot_be_read_is_a_problem_with_a_sentence(http, query):
    response = await http.get("/api/v1/links", params=query)
    assert 400 <= response.status_code < 500
    assert response.json()["detail"]


@pytest.mark.parametrize("name", ["Reason", "Launch", "Build", "Server", "Stats"])
def test_the_client_knows_the_bodies(name):
    ours, theirs = getattr(bodies, name).model_fields, {field.name for field in dataclasses.fields(getattr(models, name))}
    assert theirs <= set(ours)
