"""What a build container is made from: limits, mounts, and no secrets."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.build.steps import job as steps
from services.egress.logins import Logins
from services.errors import Misconfigured
from services.registry.credentials import Credentials
from services.runtimes.base import BuildJob
from services.runtimes.docker.order import Recipe, build_order, disk_order, job_files, registry_login
from services.settings import load

JOB = BuildJob(id="0" * 32, attempt=2, image="registry.example.org/binder/r2d-x:abc", provider="git",
               repo_url="https://example.org/x", commit="a" * 40)


def recipe(**more: str) -> Recipe:
    found = load({"DOCKYARD_REGISTRY_URL": "https://registry.example.org", "DOCKYARD_REGISTRY_USERNAME": "somebody",
                  "DOCKYARD_REGISTRY_PASSWORD": "hush",
                  "DOCKYARD_PROVIDERS_GIT_CREDENTIALS": '{"example.org": "username=u\\\\npassword=whisper"}',
                  "DOCKYARD_BUILDS_IMAGE_PREFIX": "registry.example.org/binder/r2d-",
                  **{f"DOCKYARD_DOCKER_{key.upper()}": value for key, value in more.items()}})
    return Recipe(found.docker, found.builds, found.registry, Logins(found.providers))


def test_a_contained_build_has_no_socket_and_all_limits() -> None:
    order = build_order(recipe(builder="contained", build_memory=str(512 << 20), build_processes="64", build_cpus="1.5"), JOB, "bases")
    assert order.name == f"build-{'0' * 32}-2"
    assert not any("docker.sock" in source for source, _, _ in order.mounts)
    assert ("bases", "/bases", True) in order.mounts
    assert (order.memory, order.processes, order.cpus) == (512 << 20, 64, 1.5)
    assert order.read_only
    assert "no-new-privileges" in order.security
    assert "SYS_ADMIN" not in order.capabilities
    profile = next(word for word in order.security if word.startswith("seccomp="))
    assert "ptrace" in json.loads(profile.partition("=")[2])["syscalls"][0]["names"]


def test_an_engine_build_has_the_socket() -> None:
    order = build_order(recipe(builder="engine", socket="/run/other.sock"), JOB, "")
    assert ("/run/other.sock", "/var/run/docker.sock", False) in order.mounts
    assert not any(word.startswith("seccomp") for word in order.security)


def test_no_order_has_a_secret_and_the_contained_job_has_no_password() -> None:
    for builder in ("contained", "engine"):
        found = recipe(builder=builder)
        login = registry_login(found, JOB, Credentials("somebody", "hush"))
        assert login == {"registry": "registry.example.org", "username": "somebody", "password": "hush"}
        files = job_files(found, JOB, login)
        assert "hush" not in repr(build_order(found, JOB, "")) + repr(disk_order(found, JOB.handle))
        assert "whisper" not in repr(build_order(found, JOB, ""))
        content = json.loads(files["dockyard/job.json"])
        assert "whisper" in files["dockyard/logins.json"].decode()
        assert "whisper" not in files["dockyard/job.json"].decode()
        assert list(job_files(found, replace(JOB, repo_url="https://elsewhere.org/x"), login)) == ["dockyard/job.json"]
        assert (content["registry"] != {}) == (builder == "engine")
        assert content["environment_image"] == "registry.example.org/binder/r2d-environments"


def test_an_identity_token_of_a_helper_reaches_buildx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = recipe(builder="engine")
    login = registry_login(found, JOB, Credentials("", "", "refresh"))
    content = json.loads(job_files(found, JOB, login)["dockyard/job.json"])
    monkeypatch.setattr(steps, "PLACE", tmp_path)
    environ = steps.environment(steps.Job(**content))
    assert "CONTAINER_ENGINE_REGISTRY_CREDENTIALS" not in environ
    config = json.loads((Path(environ["DOCKER_CONFIG"]) / "config.json").read_text())
    assert config == {"auths": {"registry.example.org": {"identitytoken": "refresh"}}}
    assert Path(environ["DOCKER_CONFIG"]).stat().st_mode & 0o77 == 0
    assert registry_login(recipe(builder="engine"), JOB, Credentials()) == {}


def test_the_appendix_is_filled_in_as_binderhub_does() -> None:
    content = json.loads(job_files(recipe(appendix="LABEL repo={repo_url}"), JOB, {})["dockyard/job.json"])
    assert content["appendix"] == "LABEL repo=https://example.org/x"


@pytest.mark.parametrize(("key", "word"), [("seccomp", "docker.seccomp"), ("ca", "docker.ca")])
def test_a_missing_file_is_named(key: str, word: str) -> None:
    found = recipe(**{key: "/nowhere"})
    make = {"seccomp": lambda: build_order(found, JOB, ""), "ca": lambda: job_files(found, JOB, {})}[key]
    with pytest.raises(Misconfigured, match=word):
        make()
