"""Names of images, taken apart as Docker does."""

import pytest

from services.errors import Misconfigured
from services.names import image_name
from services.registry import Reference


@pytest.mark.parametrize(("name", "host", "repository", "tag"), [
    ("127.0.0.1:5000/binder/r2d-x:abc", "127.0.0.1:5000", "binder/r2d-x", "abc"),
    ("registry.example.org/a/b/c:1", "registry.example.org", "a/b/c", "1"),
    ("localhost/a:1", "localhost", "a", "1"),
    ("library/busybox", "", "library/busybox", "latest"),
    ("r2d-o-2dcached-4a75bf:0123", "", "r2d-o-2dcached-4a75bf", "0123"),
    ("host:5000/a@sha256:" + "0" * 64, "host:5000", "a", "sha256:" + "0" * 64),
    ("host:5000/a:tag@sha256:" + "0" * 64, "host:5000", "a", "sha256:" + "0" * 64),
])
def test_names_are_taken_apart(name: str, host: str, repository: str, tag: str) -> None:
    assert Reference.parse(name) == Reference(host, repository, tag)


@pytest.mark.parametrize("name", ["", "A/b:1", "a b:1", "a:", "a:-x", "host:5000/:1", "a/../b:1", "a//b:1"])
def test_what_no_registry_takes_is_refused(name: str) -> None:
    if name == "a:":
        assert Reference.parse(name).tag == "latest"
        return
    with pytest.raises(Misconfigured):
        Reference.parse(name)


@pytest.mark.parametrize("slug", ["https://example.org/new/repo", "o-cached", "Zenodo-123", "gitlab_-x", "a__b", "ünï"])
def test_every_image_name_of_ours_is_one(slug: str) -> None:
    name = image_name("127.0.0.1:5000/binder/r2d-", slug, "0" * 40)
    assert str(Reference.parse(name)) == name
