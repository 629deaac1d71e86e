"""Configuration of repo2docker in the build container."""

import os

from steps.provider import Fetched

c = get_config()  # type: ignore[name-defined]  # noqa: F821  # defined by traitlets
c.Repo2Docker.content_providers = [Fetched]
if os.environ.get("DOCKYARD_UV"):
    from repo2docker.app import Repo2Docker
    from repo2docker.buildpacks import CondaBuildPack

    from steps.uv_buildpack import UvBuildPack

    packs = Repo2Docker.buildpacks.default()
    packs.insert(packs.index(CondaBuildPack), UvBuildPack)
    c.Repo2Docker.buildpacks = packs
    c.Repo2Docker.default_buildpack = UvBuildPack
if os.environ.get("DOCKYARD_DEFAULT_BUILDPACK"):
    # On its command line repo2docker would take the name for the class itself.
    from traitlets.utils.importstring import import_item

    c.Repo2Docker.default_buildpack = import_item(os.environ["DOCKYARD_DEFAULT_BUILDPACK"].replace(":", "."))
