"""A mock API server and a builder on it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml

from services.runtimes.kubernetes.builder import PodBuilder
from services.runtimes.kubernetes.client import Cluster
from services.runtimes.kubernetes.telling import Telling
from services.settings import Settings, load
from tests.services.runtimes.kubernetes.apiserver import ApiServer


@pytest.fixture
async def server() -> AsyncIterator[ApiServer]:
    """An API server without a pod."""
    async with ApiServer().serving() as running:
        yield running


@pytest.fixture
def settings_of(server: ApiServer, tmp_path: Path):  # type: ignore[no-untyped-def]
    """Makes settings that lead to the server, with further values."""
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(yaml.safe_dump({
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": str(server.url).rstrip("/")}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        "users": [{"name": "test", "user": {"token": "t"}}],
    }))

    def make(more: dict[str, str] | None = None, **values: str) -> Settings:
        environ = (more or {}) | {f"DOCKYARD_KUBERNETES_{key}".upper(): value for key, value in values.items()}
        return load({"DOCKYARD_KUBERNETES_KUBECONFIG": str(kubeconfig), "DOCKYARD_KUBERNETES_NAMESPACE": "builds",
                     "DOCKYARD_REGISTRY_URL": "http://registry:5000", **environ})

    return make


@pytest.fixture
async def builders(settings_of) -> AsyncIterator[object]:  # type: ignore[no-untyped-def]
    """Makes builders on the server; each is a worker of its own."""
    made: list[PodBuilder] = []

    def make(more: dict[str, str] | None = None, **values: str) -> PodBuilder:
        settings = settings_of(more, **values)
        cluster = Cluster(settings.kubernetes)
        builder = PodBuilder(cluster, Telling(settings), settings.kubernetes, settings.builds)
        made.append(builder)
        return builder

    yield make
    for builder in made:
        await builder.aclose()
