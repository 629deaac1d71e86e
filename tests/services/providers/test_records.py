"""Which files a record consists of, as each archive tells it; the answers have the shapes of the archives' documented APIs."""

import json
from typing import Any

import pytest

from services.errors import Unreachable, Unresolved
from services.providers.base import Provider, Records
from services.records import File
from tests.services.providers.conftest import Make
from tests.services.providers.stub import Page, Stub

DIGITS = "94a9ed024d3859793618152ea559a168bbcbb5e2"


def records(provider: Provider) -> Records:
    """A provider of records."""
    assert isinstance(provider, Records)
    return provider


async def test_zenodo(make: Make, forge: Stub) -> None:
    """Files by today's words, and by those of older installations of the software; a lone zip is unpacked."""
    zenodo = records(make("zenodo", private=True))
    content = f"{forge.url}/api/records/3242074/files/a%20b.csv/content"
    old = {"filename": "x.txt", "links": {"download": f"{forge.url}/x.txt"}, "filesize": 7, "checksum": "ab"}
    new = {"key": "data/a b.csv", "links": {"self": content}, "size": 12, "checksum": "md5:5d41"}
    forge.page("/api/records/3242074", {"files": [new, old]})
    assert await zenodo.files("10.5281/zenodo.3242074", "3242074") == [
        File("data/a b.csv", content, 12, "md5:5d41"), File("x.txt", f"{forge.url}/x.txt", 7, "md5:ab")]
    forge.redirect("/10.5281/zenodo.5", "/record/5")
    forge.pages["/record/5"] = Page()
    forge.page("/api/records/5", {"files": [{"key": "Repo-1.0.ZIP", "links": {"self": content}, "size": 12}]})
    assert await zenodo.files("10.5281/zenodo.5", "5") == [File("Repo-1.0.ZIP", content, 12, unpack="zip", inside="*")]


async def test_figshare(make: Make, forge: Stub) -> None:
    """The version that was resolved; what is only a link is no file."""
    files = [
        {"name": "environment.yml", "download_url": f"{forge.url}/files/1", "size": 60, "computed_md5": "aa", "is_link_only": False},
        {"name": "elsewhere", "download_url": "", "size": 0, "computed_md5": "", "is_link_only": True},
        {"name": "index.ipynb", "download_url": f"{forge.url}/files/2", "size": 70, "computed_md5": "", "is_link_only": False},
    ]
    forge.page("/v2/articles/9782777/versions/3", {"files": files})
    figshare = records(make("figshare", private=True, figshare_api=f"{forge.url}/v2"))
    assert await figshare.files("10.6084/m9.figshare.9782777.v3", "9782777.v3") == [
        File("environment.yml", f"{forge.url}/files/1", 60, "md5:aa"), File("index.ipynb", f"{forge.url}/files/2", 70)]


async def test_dataverse(make: Make, forge: Stub) -> None:
    """With directories; a table as it was uploaded, of which neither size nor checksum is told."""
    plain = {"label": "run.py", "dataFile": {"id": 7, "filesize": 5, "md5": "aa"}}
    original = {"originalFileFormat": "text/csv", "originalFileName": "t.csv", "originalFileSize": 9}
    table = {"label": "t.tab", "directoryLabel": "data", "dataFile": {"id": 8, "filesize": 5, "md5": "bb"} | original}
    path = "/api/datasets/:persistentId/versions/1.0/files?persistentId=doi:10.7910/DVN/TJCLKP"
    forge.page(path, {"status": "OK", "data": [plain, table]})
    found = await records(make("dataverse", private=True)).files("10.7910/DVN/TJCLKP", "3035124.v1.0")
    access = f"{forge.url}/api/access/datafile"
    assert found == [
        File("run.py", f"{access}/7?format=original", 5, "md5:aa"), File("data/t.csv", f"{access}/8?format=original", 9)]


async def test_ckan(make: Make, forge: Stub) -> None:
    """Resources wherever they are; two of one name do not hide each other, what is no file of the web is left out."""
    resources: list[dict[str, Any]] = [
        {"id": "r1", "name": "Prices", "url": f"{forge.url}/dataset/x/resource/r1/download/prices.csv"},
        {"id": "r2", "name": "Older", "url": "https://other.example.org/prices.csv"},
        {"id": "r3", "name": "An API/", "url": "https://api.example.org/"},
        {"id": "r4", "name": "mail", "url": "mailto:x@example.org"},
    ]
    forge.page("/api/3/action/package_show?id=prices", {"result": {"resources": resources}})
    found = await records(make("ckan", private=True)).files(f"{forge.url}/dataset/prices", "prices.v1")
    assert [(file.path, file.url) for file in found] == [
        ("prices.csv", resources[0]["url"]), ("r2/prices.csv", resources[1]["url"]), ("An API-", "https://api.example.org/")]


async def test_hydroshare_and_osf_make_packages(make: Make, forge: Stub) -> None:
    """One archive each."""
    resource = "8f7c2f0341ef4180b0dbe97f59130756"
    hydroshare = records(make("hydroshare", private=True, hydroshare_url=forge.url))
    assert await hydroshare.files(f"{forge.url}/resource/{resource}", "x") == [
        File("the resource", f"{forge.url}/django_irods/download/bags/{resource}.zip", unpack="zip", inside=f"{resource}/data/contents",
             made=True)]
    upload = f"{forge.url}/v1/resources/ezcuj/providers/osfstorage/"
    entries = [{"attributes": {"provider": "github"}, "links": {"upload": f"{forge.url}/no"}},
               {"attributes": {"provider": "osfstorage"}, "links": {"upload": upload}}]
    forge.page("/v2/registrations/ezcuj/files/", {"data": entries})
    osf = records(make("osf", private=True, osf_api=f"{forge.url}/v2"))
    assert await osf.files("https://osf.io/ezcuj/", "ezcuj.v1") == [File("the project's storage", f"{upload}?zip=", unpack="zip")]


async def test_software_heritage_packs_a_directory(make: Make, forge: Stub) -> None:
    """The directory of a revision, asked for once and waited for."""
    swh = records(make("swh", private=True, swh_url=forge.url))
    name = f"swh:1:dir:{DIGITS}"
    vault, where = f"/api/1/vault/flat/{name}/", f"{forge.url}/raw/"
    forge.page(f"/api/1/revision/{'a' * 40}/", {"directory": DIGITS})
    answers = [Page(200, {}, json.dumps({"status": status, "fetch_url": None})) for status in ("new", "pending")]
    forge.series = {f"GET {vault}": [Page(404), answers[1]], f"POST {vault}": answers[:1]}
    forge.page(vault, {"status": "done", "fetch_url": where})
    assert await swh.files(f"swh:1:rev:{'a' * 40}", "a" * 40) == [File(name, where, unpack="tar", inside=name)]
    forge.page(vault, {"status": "failed", "progress_message": "too big"})
    with pytest.raises(Unresolved, match=r"cannot pack this directory \(too big\)"):
        await swh.files(name, DIGITS)


async def test_records_without_files_and_answers_of_another_shape(make: Make, forge: Stub) -> None:
    """Each is a sentence."""
    zenodo = records(make("zenodo", private=True))
    forge.page("/api/records/3242074", {"files": []})
    with pytest.raises(Unresolved, match="no files"):
        await zenodo.files("10.5281/zenodo.3242074", "3242074")
    forge.redirect("/10.5281/zenodo.6", "/record/6")
    forge.pages["/record/6"] = Page()
    forge.page("/api/records/6", {"hits": []})
    with pytest.raises(Unreachable, match="unexpected"):
        await zenodo.files("10.5281/zenodo.6", "6")
    forge.page("/api/records/6", {"files": [{"key": str(n), "links": {"self": forge.url}} for n in range(2001)]})
    with pytest.raises(Unresolved, match=r"more than 2,000 files"):
        await zenodo.files("10.5281/zenodo.6", "6")
