"""The `subdir` and `environment` of a request, read: for `/v2`, `/build`, and the REST api."""

from collections.abc import Mapping

from api.accept import parse
from api.services import ApiServices
from services.errors import BadRequest, BadSpec
from services.providers.layout import Layout, checked_subdir
from services.providers.links import read_link


def layout_of(services: ApiServices, asked: Mapping[str, str]) -> Layout:
    """What a query or a body says under these two names; raises what `parse` does, and `BadSpec`.

    The environment is `provider/spec`, or the address of the repository as one would paste it.
    """
    environment = asked.get("environment", "").strip().strip("/")
    subdir = checked_subdir(asked.get("subdir", ""))
    if not environment:
        return Layout(subdir)
    try:
        if environment.startswith(("https://", "http://")):
            found = read_link(environment, services.providers)
            return Layout(subdir, parse(services, found.provider, found.spec))
        provider, _, spec = environment.partition("/")
        return Layout(subdir, parse(services, provider, spec))
    except BadRequest as error:
        raise BadSpec(f"The environment repository: {error.sentence}") from error
