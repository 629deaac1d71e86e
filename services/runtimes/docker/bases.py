"""Base images for contained builds: taken from the engine once, kept in a volume that all builds read.

A contained build has no engine to ask, and unpacking a base image of a gigabyte for each build would cost more than the
build. The volume is named by the images' ids, so another image makes another volume. The container that fills it has the
volume's name and stays as the mark that it is full: only one can be made, whoever comes first. The volume itself bears a mark
too, for when the container has gone.
"""

import asyncio
import hashlib
import tarfile
import tempfile

from services.errors import Misconfigured, Unreachable
from services.runtimes.docker.containers import Order
from services.runtimes.docker.engine import Engine
from services.runtimes.docker.order import OURS, Recipe, security

_BUILDER = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "MKNOD", "SETFCAP", "SETGID", "SETUID", "SYS_CHROOT")
_PATIENCE = 900.0  # seconds
_COPYING = 180.0  # seconds that images may take to be copied into a volume
MARK = "dockyard.bases"
FULL = "/bases/full"  # is there once the volume is full


class Bases:
    """The shared base images of one installation."""

    def __init__(self, engine: Engine, recipe: Recipe) -> None:
        self._engine, self._recipe = engine, recipe
        self._ready: dict[tuple[str, ...], str] = {}
        self._lock = asyncio.Lock()

    async def volume(self) -> str:
        """The name of the full volume, or "" where no bases are set. The first call may take a minute."""
        settings = self._recipe.docker
        names = list(dict.fromkeys([*settings.bases, *([settings.base_image] if settings.base_image else [])]))
        if not names:
            return ""
        async with self._lock:
            ids = tuple([await self._id(name) for name in names])
            if ids not in self._ready:
                self._ready[ids] = await self._filled(ids)
            return self._ready[ids]

    async def let_go(self) -> None:
        """Remove the containers that have filled volumes; the volumes stay."""
        for found in await self._engine.names(MARK, self._recipe.ours):
            await self._engine.remove(found[MARK])

    async def _id(self, name: str) -> str:
        found = await self._engine.image(name)
        if found is None:
            try:
                await self._engine.pull(name)
            except Unreachable as error:
                raise Misconfigured(f"Setting docker.bases: the engine has no image {name} and cannot pull it: {error.sentence}") from error
            found = await self._engine.image(name)
        if found is None:
            raise Misconfigured(f"Setting docker.bases: the engine has no image {name}.")
        return f"{name}@{found['Id']}"

    async def _filled(self, ids: tuple[str, ...]) -> str:
        settings = self._recipe.docker
        name = "dockyard-bases-" + hashlib.sha256("\n".join([*sorted(ids), settings.build_image]).encode()).hexdigest()[:12]
        labels = {MARK: name, OURS: settings.installation}
        for _ in range(2):
            await self._engine.volume(name, labels)
            files = [f"/bases/in/{number}.tar" for number in range(len(ids))]
            made = await self._engine.create(Order(
                name=name, image=settings.build_image, command=("bases", *files), labels=labels, mounts=((name, "/bases", False),),
                tmpfs={"/run": "rw,size=16m", "/tmp": "rw,size=64m", "/root": "rw,size=16m"}, network="none",  # noqa: S108
                security=security(settings), capabilities=_BUILDER, read_only=True, environment={"TMPDIR": "/bases/in"}, log_bytes=1 << 20,
            ))
            if made and await self._engine.read(name, FULL) is None:
                for number, image in enumerate(ids):
                    await self._copy(name, image.partition("@")[0], f"{number}.tar")
            if made:
                await self._engine.start(name)
            if await self._ended(name):
                return name
            await self._engine.remove(name)
            await self._engine.remove_volume(name)
        raise Unreachable("The base images for contained builds cannot be prepared; see the engine's log of " + name + ".")

    async def _ended(self, name: str) -> bool:
        """Wait for whoever fills the volume; whether it is full."""
        deadline = asyncio.get_running_loop().time() + _PATIENCE
        while asyncio.get_running_loop().time() < deadline:
            found = await self._engine.inspect(name)
            if found is None:
                return False
            if found.ended:
                return found.code == 0
            if found.status == "created" and asyncio.get_running_loop().time() > deadline - _PATIENCE + _COPYING:
                return False  # whoever made it has died before the start
            await asyncio.sleep(0.5)
        return False

    async def _copy(self, name: str, image: str, file: str) -> None:
        """Put an image into the volume, as a file: a tar archive of one member, by way of this machine's disk."""
        with tempfile.TemporaryFile() as archive:
            archive.write(bytes(tarfile.BLOCKSIZE))
            async for chunk in self._engine.save(image):
                await asyncio.to_thread(archive.write, chunk)
            entry = tarfile.TarInfo(f"in/{file}")
            entry.size = archive.tell() - tarfile.BLOCKSIZE
            archive.write(bytes(-entry.size % tarfile.BLOCKSIZE + 2 * tarfile.BLOCKSIZE))
            archive.seek(0)
            archive.write(entry.tobuf(tarfile.GNU_FORMAT))
            archive.seek(0)
            await self._engine.put_archive(name, "/bases", archive)
