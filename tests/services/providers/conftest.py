"""A forge that answers as recorded, a git server beside it, and providers that lead to both."""

from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from services.providers import Provider, make_providers
from services.settings import EgressSettings, ProviderSettings
from tests.gitserver import GitServer, Repo
from tests.services.providers.stub import Page, Stub, serving

Make = Callable[..., Provider]


@pytest.fixture
async def forge() -> AsyncIterator[Stub]:
    """The APIs of GitHub, GitLab and the archives, the DOI system, and the pages that it leads to."""
    async with serving() as stub:
        stub.record("api.github.com")
        stub.record("gitlab.com")
        for name in ("api.figshare.com", "www.hydroshare.org", "dataverse.harvard.edu", "data.depositar.io", "demo.ckan.org"):
            stub.record(name)
        stub.redirect("/10.5281/zenodo.3242074", "/record/3242074")
        stub.redirect("/10.5281/zenodo.3242073", "/record/3242074")
        for version in ("", ".v1", ".v3"):
            stub.redirect(f"/10.6084/m9.figshare.9782777{version}", "/articles/code/Binder_Examples/9782777")
        stub.redirect("/10.7910/DVN/TJCLKP", "/dataset.xhtml?persistentId=doi:10.7910/DVN/TJCLKP")
        for page in ("/record/3242074", "/articles/code/Binder_Examples/9782777", "/dataset.xhtml"):
            stub.pages[page] = Page(200, {"Content-Type": "text/html"}, "<html>")
        yield stub


@pytest.fixture(scope="session")
async def git_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GitServer]:
    """One git server for all tests, with the repository o/r, also called o/plain.git: two commits, branches and tags."""
    root = tmp_path_factory.mktemp("git")
    repo = Repo.create(root, "o/r")
    repo.commit({"a.txt": "one\n"})
    repo.tag("v1", message="annotated")
    repo.commit({"a.txt": "two\n"})
    repo.branch("feature/x", "HEAD~1")
    repo.branch("both", "HEAD~1")
    repo.tag("both")
    (root / "o/plain.git").symlink_to("r")
    async with GitServer(root) as server:
        yield server


@pytest.fixture
def git(git_server: GitServer) -> Iterator[GitServer]:
    """The git server, without faults and without memory of other tests."""
    git_server.requests.clear()
    yield git_server
    git_server.faults.clear()


@pytest.fixture
def repo(git: GitServer) -> Repo:
    """o/r; not to be changed."""
    return Repo(git.root / "o/r")


@pytest.fixture
async def make(forge: Stub, git: GitServer) -> AsyncIterator[Make]:
    """Make a provider on the stub and the git server, under the production egress rule unless told otherwise."""
    made: list[Provider] = []

    def build(prefix: str, *, private: bool = False, **settings: object) -> Provider:
        group = ProviderSettings.model_validate(
            {
                "enabled": [prefix], "github_api": forge.url, "gitlab_api": f"{forge.url}/api/v4",
                "github_host": git.address, "gist_host": git.address, "gitlab_host": git.address, "timeout": 120,
                "doi_url": forge.url, "figshare_api": f"{forge.url}/v2", "hydroshare_url": forge.url, "swh_url": forge.url,
                "osf_url": forge.url, "osf_api": f"{forge.url}/v2", "bitbucket_host": git.address, "codeberg_host": git.address,
                "gitea_host": git.address,
            }
            | settings
        )
        made.append(make_providers(group, EgressSettings(private=private))[prefix])
        return made[-1]

    yield build
    for provider in made:
        await provider.aclose()
