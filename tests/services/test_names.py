"""Names: BinderHub's to the letter, without collisions, and without revealing a launch id."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services import names


@pytest.mark.parametrize(
    ("prefix", "slug", "ref", "image"),
    [
        ("r-", "https://example.org/new/repo", "1", "r-https-3a-2f-2fexample-2eorg-2fnew-2frepo-49f472:1"),
        ("r2d-", "o-cached", "ab12", "r2d-o-2dcached-4a75bf:ab12"),
        ("", "Foo-Bar", "x", "foo-2dbar-e32b2c:x"),
        ("reg.example.org/My_Binder/r2d-", "a", "v1_2", "reg.example.org/my-binder/r2d-a-ca9781:v1-2"),
        ("", "zenodo-3242074", "3242074", "zenodo-2d3242074-b993d2:3242074"),
        ("", "é", "x", "-c3-a9-4a9955:x"),
    ],
)
def test_images_are_named_as_binderhub_names_them(prefix: str, slug: str, ref: str, image: str) -> None:
    assert names.image_name(prefix, slug, ref) == image


def test_a_long_slug_is_cut_before_its_hash() -> None:
    name, _, ref = names.image_name("reg.example.org/r2d-", "a" * 400, "0" * 40).partition(":")
    assert len(name) == 255
    assert ref == "0" * 40
    assert re.fullmatch(r"reg\.example\.org/r2d-a+-[0-9a-f]{6}", name)


@settings(deadline=None, database=None)
@given(st.lists(st.text(min_size=1, max_size=60), min_size=2, max_size=40, unique=True))
def test_different_slugs_have_different_images(slugs: list[str]) -> None:
    images = {names.image_name("r2d-", slug, "0" * 40) for slug in slugs}
    assert len(images) == len(slugs)
    for image in images:
        assert re.fullmatch(r"[a-z0-9-]{4,255}:0{40}", image)


@pytest.mark.parametrize(
    ("url", "prefix"),
    [
        ("https://github.com/minrk/binder-example.git", "minrk-binder-example"),
        ("https://github.com/minrk/binder-example", "minrk-binder-example"),
        ("https://github.com/Some-Org/A.Very.Long.Repository.Name", "some-org-a.very-repository.name"),
        ("ssh://git@example.org/group/project.git", "group-project"),
        ("git@example.org:group/project", "group-project"),
        ("10.5281/zenodo.3242074", "10.5281-zenodo.3242074"),
        ("https://example.org/", "repository"),
        ("https://example.org/../../..%2f", "2f"),
        ("https://example.org/~me/my repo?x=1#y", "me-my-repo"),
    ],
)
def test_users_are_called_after_the_repository(url: str, prefix: str) -> None:
    assert re.fullmatch(re.escape(prefix) + "-[a-z0-9]{8}", names.user_name(url, "0" * 32, 1))


@settings(deadline=None, database=None)
@given(st.text(max_size=200), st.text("0123456789abcdef", min_size=32, max_size=32), st.integers(1, 9))
def test_user_names_are_safe_and_follow_from_the_attempt(url: str, launch: str, attempt: int) -> None:
    name = names.user_name(url, launch, attempt)
    assert re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,40}", name)
    assert name == names.user_name(url, launch, attempt)
    assert name != names.user_name(url, launch, attempt + 1)
    assert launch[:8] not in name.rsplit("-", 1)[1]


def test_ids_are_random_and_servers_derived() -> None:
    launch = names.new_id()
    assert re.fullmatch(r"[0-9a-f]{32}", launch)
    assert launch != names.new_id()
    servers = {names.server_id(launch, attempt) for attempt in range(1, 50)}
    assert len(servers) == 49
    assert all(re.fullmatch(r"[0-9a-f]{32}", server) for server in servers)


def test_many_launches_of_one_repository_get_many_users() -> None:
    url = "https://github.com/o/r"
    assert len({names.user_name(url, f"{n:032x}", 1) for n in range(20_000)}) == 20_000


def test_what_is_apart_is_part_of_the_name_and_without_it_the_name_is_binderhubs() -> None:
    plain = names.image_name("p/r2d-", "a-b", "1" * 40)
    assert names.image_name("p/r2d-", "a-b", "1" * 40, subdir="", environment="") == plain
    asked = [("x", ""), ("", "x"), ("x/y", ""), ("x", "y@1"), ("x", "y@2"), ("X", ""), ('x", "', "")]
    found = [names.image_name("p/r2d-", "a-b", "1" * 40, subdir=subdir, environment=environment) for subdir, environment in asked]
    assert len({plain, *found}) == len(found) + 1
    # A slug ends with a hash of six digits, and nothing that a link can say makes it end like one of these.
    assert {len(name.partition(":")[0].rpartition("-")[2]) for name in found} == {20}
    long = names.image_name("p/r2d-", "x" * 400, "1" * 40, subdir="x")
    assert len(long.partition(":")[0]) <= 255
