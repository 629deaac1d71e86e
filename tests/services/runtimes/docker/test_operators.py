"""What an operator may set, all of it in one real build: private repositories behind an authority of one's own, a registry with a
password or with tokens, and the words that repo2docker is given.
"""

import json
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from services.errors import Misconfigured
from services.registry import Reference
from services.runtimes.content import configuration, platform_manifest
from services.runtimes.docker import DockerRuntime
from tests.gitserver import GitServer, Repo
from tests.registryserver import RegistryServer, registry
from tests.services.registry.servers import issuer, passwords
from tests.services.runtimes.docker import lab

pytestmark = [pytest.mark.docker, pytest.mark.xdist_group("docker")]


Private = tuple[Path, GitServer, dict[str, RegistryServer]]


@pytest.fixture(scope="module")
def private(bench: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Private]:
    """The git server, and a registry for each builder: the contained one's client has to fetch tokens."""
    root = tmp_path_factory.mktemp("private")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=forge", "-addext",
         f"subjectAltName=IP:{lab.gateway()}", "-keyout", "key.pem", "-out", "cert.pem"],
        cwd=root, check=True, capture_output=True)
    with (
        registry(root / "passwords", passwords(root)) as first, issuer(root / "issuer") as tokens,
        registry(root / "tokens", tokens.auth) as second, GitServer(root, host=lab.gateway(), tls=root) as server,
    ):
        server.login = "reader:hidden"
        yield root, server, {"engine": first, "contained": second}
    lab.forget(first.host)
    lab.forget(second.host)


@pytest.fixture(params=["contained", "engine"])
async def runtime(request: pytest.FixtureRequest, private: Private) -> AsyncIterator[DockerRuntime]:
    root, server, stores = private
    found = lab.runtime(
        stores[request.param], request.param, registry_username="somebody", registry_password="right", docker_ca=root / "cert.pem",
        providers_git_credentials=json.dumps({server.address: r"username=reader\npassword=hidden"}), docker_uv="false",
        docker_repo2docker_args='["--label", "team=notebooks"]',
        docker_appendix="LABEL source={repo_url}\nUSER root\nRUN touch /appendix\nUSER ${NB_USER}",
        docker_default_buildpack="repo2docker.buildpacks:BaseImage")
    yield found
    await found.aclose()


async def test_all_settings_reach_the_build(runtime: DockerRuntime, private: Private) -> None:
    root, server, stores = private
    store = stores[runtime.builder._recipe.docker.builder]
    commit = Repo.create(root, "private.git").commit({"notes.md": "# Notes\n"})
    image = Reference.parse(f"{store.host}/tests/private-{id(runtime)}:{commit}")
    url = server.url("private.git")
    told = await lab.build(runtime, lab.job(url, commit, str(image)))
    assert told.end is not None
    assert told.end.ok, told.text
    assert "the appendix of this installation" in told.text  # why it is no layer on a shared environment
    assert "hidden" not in told.text
    assert runtime.registry is not None
    manifest = await platform_manifest(runtime.registry, image)
    assert manifest is not None
    config = await configuration(runtime.registry, image.repository, manifest)
    assert config is not None
    # repo2docker names the last buildpack that it has asked, not the one that it takes; all but BaseImage bring conda.
    assert not [entry for entry in config["config"]["Env"] if entry.startswith("CONDA_DIR=")]
    labels = config["config"]["Labels"]
    assert (labels["team"], labels["source"], labels["repo2docker.ref"]) == ("notebooks", url, commit)
    assert any("touch /appendix" in entry.get("created_by", "") for entry in config["history"]) or "contained" in str(told)
    base = lab.docker("image", "inspect", "-f", "{{join .RootFS.Layers \" \"}}", lab.TINY).split()
    assert config["rootfs"]["diff_ids"][:len(base)] == base


async def test_wrong_credentials_are_named(runtime: DockerRuntime, private: Private) -> None:
    root, server, stores = private
    commit = Repo.create(root, "locked.git").commit({"Dockerfile": f"FROM {lab.SMALL}\n"})
    builder = runtime.builder._recipe.docker.builder
    store = stores[builder]
    stranger = lab.runtime(store, builder, registry_username="somebody", registry_password="wrong", docker_ca=root / "cert.pem")
    try:
        with pytest.raises(Misconfigured, match="the password or token is wrong"):
            await stranger.images.exists(f"{store.host}/tests/locked:{commit}")
        told = await lab.build(stranger, lab.job(server.url("locked.git"), commit, f"{store.host}/tests/locked:{commit}"))
    finally:
        await stranger.aclose()
    assert told.end is not None
    assert "Failed to clone repository" in told.end.reason
