"""One release on the cluster for all tests that want one."""

from collections.abc import Iterator

import pytest

from tests.deploy.helm.cluster import make_images
from tests.deploy.helm.release import Release


@pytest.fixture(scope="package")
def release(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    """The chart, installed from images that are made here; what is left of it goes with the tests."""
    make_images()
    found = Release(tmp_path_factory.mktemp("release"))
    with found.git:
        try:
            found.prepare()
            found.install()
            yield found
        finally:
            found.remove()
