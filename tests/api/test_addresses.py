"""What opens in a server, and that it stays there."""

import pytest

from api.addresses import opens, server_address, what_opens

URL = "http://localhost:8001/user/x/"


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ({}, ""),
        ({"urlpath": "lab/tree/a.ipynb"}, "lab/tree/a.ipynb"),
        ({"urlpath": "/lab/tree/a%20b.ipynb"}, "lab/tree/a%20b.ipynb"),
        ({"filepath": "a b.ipynb"}, "tree/a%20b.ipynb"),
        ({"labpath": "dir/a b.ipynb/"}, "doc/tree/dir/a%20b.ipynb"),
        ({"labpath": "l", "filepath": "f", "urlpath": "u"}, "doc/tree/l"),
        ({"filepath": "f", "urlpath": "u"}, "tree/f"),
        ({"urlpath": "a\x00b"}, ""),
        ({"urlpath": "git-pull?repo=https%3A%2F%2Fx%2Fy&urlpath=lab%2Ftree"}, "git-pull?repo=https%3A%2F%2Fx%2Fy&urlpath=lab%2Ftree"),
    ],
)
def test_the_query_says_what_opens(query, path):
    assert opens(query) == path


@pytest.mark.parametrize(
    ("urlpath", "address"),
    [
        ("", f"{URL}?token=t"),
        ("lab/tree/a.ipynb", f"{URL}lab/tree/a.ipynb?token=t"),
        ("git-pull?repo=https%3A%2F%2Fx", f"{URL}git-pull?repo=https%3A%2F%2Fx&token=t"),
        ("https://evil.example/", f"{URL}?token=t"),
        ("//evil.example/", f"{URL}?token=t"),
        ("/other/", f"{URL}?token=t"),
        ("../other/", f"{URL}?token=t"),
        ("javascript:alert(1)", f"{URL}?token=t"),
        ("..\\other\\", f"{URL}?token=t"),
        ("lab/%2e%2E/%2e./other/", f"{URL}?token=t"),
        (".\t./other/", f"{URL}?token=t"),
        ("lab/..hidden/a..b?path=../x", f"{URL}lab/..hidden/a..b?path=../x&token=t"),
        ("\\\\evil.example", f"{URL}\\\\evil.example?token=t"),
    ],
)
def test_no_path_leads_off_the_server(urlpath, address):
    assert server_address(URL, urlpath, "t") == address


def test_without_a_token_none_is_added():
    assert server_address(URL, "lab", "") == f"{URL}lab"


@pytest.mark.parametrize(
    ("urlpath", "name"), [("", "JupyterLab"), ("doc/tree/x", "JupyterLab"), ("tree/x", "Jupyter Notebook"), ("x/y", "your server")]
)
def test_what_opens_has_a_name(urlpath, name):
    assert what_opens(urlpath) == name
