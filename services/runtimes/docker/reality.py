"""What there really is of builds and servers on an engine: containers, volumes and networks, by the labels we have put on them."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from services.runtimes.base import Thing
from services.runtimes.docker.bases import MARK
from services.runtimes.docker.engine import Engine
from services.runtimes.docker.order import BUILD, OURS, SERVER, Recipe


class DockerReality:
    """`Reality` of the runtime `docker`."""

    def __init__(self, engine: Engine, recipe: Recipe) -> None:
        self._engine, self._recipe = engine, recipe

    async def things(self) -> list[Thing]:
        """Containers, ended ones too, volumes and networks of this installation. Volumes and networks in use say so themselves."""
        ours = self._recipe.ours
        containers = await self._engine.listed("containers", ours)
        volumes = await self._engine.listed("volumes", ours)
        networks = await self._engine.listed("networks", ours)
        return [*_containers(containers), *_volumes(volumes), *self._networks(networks)]

    def _networks(self, found: list[dict[str, Any]]) -> Iterator[Thing]:
        docker = self._recipe.docker
        for one in found:  # those of earlier settings
            if one["Name"] not in (docker.server_network, docker.builds_network()):
                yield Thing("network", one["Name"], "", _time(one.get("Created")))

    async def clear(self, thing: Thing) -> None:
        """See `Reality`."""
        if thing.kind == "volume":
            await self._engine.remove_volume(thing.name)
        elif thing.kind == "network":
            await self._engine.remove_network(thing.name)
        else:
            await self._engine.remove(thing.name)


def _labels(one: Mapping[str, Any]) -> Mapping[str, str]:
    return one.get("Labels") or {}


def _containers(found: list[dict[str, Any]]) -> Iterator[Thing]:
    for one in found:
        labels, name = _labels(one), str(one["Names"][0]).lstrip("/")
        if MARK in labels:
            continue  # the mark that a volume of base images is full
        if BUILD in labels:
            yield Thing("build", name, labels[BUILD], float(one["Created"]))
        elif SERVER in labels:
            yield Thing("server", name, labels[SERVER], float(one["Created"]))
        elif labels.get(OURS):
            yield Thing("container", name, "", float(one["Created"]))


def _volumes(found: list[dict[str, Any]]) -> Iterator[Thing]:
    for one in found:
        labels = _labels(one)
        if MARK not in labels:
            yield Thing("volume", one["Name"], labels.get(BUILD) or labels.get(SERVER, ""), _time(one.get("CreatedAt")))


def _time(text: object) -> float:
    """The engine's time, such as 2026-01-01T10:00:00.123456789Z or with an offset; 0 where there is none."""
    words = str(text or "")
    try:
        offset = words[19:].lstrip(".0123456789").replace("Z", "+00:00")
        return datetime.fromisoformat(words[:19] + (offset or "+00:00")).astimezone(UTC).timestamp()
    except ValueError:
        return 0.0
