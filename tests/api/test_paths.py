"""The raw path survives routing."""

import pytest

from api.paths import raw_path, raw_spec


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        (b"/build/gh/o/r/HEAD", "/build/gh/o/r/HEAD"),
        (b"/build/gh/o/r/feature%2Fx", "/build/gh/o/r/feature%2Fx"),
        (b"/build/git/https%3A%2F%2Fe.org%2Fr.git/HEAD", "/build/git/https%3A%2F%2Fe.org%2Fr.git/HEAD"),
        (b"/build/gh/o/r/a%0Ab", "/build/gh/o/r/a%0Ab"),
        (b"/build/gh/o/r/a%2fb", "/build/gh/o/r/a%2fb"),
        ("/build/gh/o/r/ünï".encode(), "/build/gh/o/r/%C3%BCn%C3%AF"),
        (b"/build/gh/o/r/\xff\x00", "/build/gh/o/r/%FF%00"),
        (b"/build/gh/o/r/a b", "/build/gh/o/r/a%20b"),
        (b"/v2/gh/o/r/HEAD?urlpath=x", "/v2/gh/o/r/HEAD"),
    ],
)
def test_the_raw_path_is_kept_and_is_ascii(raw, path):
    assert raw_path({"raw_path": raw, "path": "/something/else"}) == path


def test_a_server_without_raw_path_gets_a_quoted_one():
    assert raw_path({"path": "/build/gh/o/r/ü x"}) == "/build/gh/o/r/%C3%BC%20x"


@pytest.mark.parametrize(
    ("path", "prefix", "found"),
    [
        ("/build/gh/o/r/HEAD", "/build/", ("gh", "o/r/HEAD")),
        ("/build/gh/o/r/feature%2Fx", "/build/", ("gh", "o/r/feature%2Fx")),
        ("/build/git/https%3A%2F%2Fe.org%2Fr/main", "/build/", ("git", "https%3A%2F%2Fe.org%2Fr/main")),
        ("/v2/zenodo/10.5281/zenodo.42/", "/v2/", ("zenodo", "10.5281/zenodo.42")),
        ("/v2/gh/o/r//", "/v2/", ("gh", "o/r")),
        ("/build/gh", "/build/", ("", "")),
        ("/build/gh/", "/build/", ("", "")),
        ("/build//o/r", "/build/", ("", "")),
        ("/v2/gh/o/r/HEAD", "/build/", ("", "")),
    ],
)
def test_a_path_is_split_into_provider_and_spec(path, prefix, found):
    assert raw_spec({"path": path}, prefix) == found
