"""How much room images take on an engine, each layer counted once.

The engine's own account (`/system/df`) measures every volume too before it answers, which takes most of a minute where there are
many; and what an image is made of never changes. So it is added up here from the histories of the images, each of which is
asked for once. A layer is known by its command, time and size: images share those that they have from one base.
"""

from services.runtimes.docker.engine import Engine

_Layer = tuple[int, str, int]  # seconds since 1970, command, bytes


class Layers:
    """The layers of all images of one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._known: dict[str, frozenset[_Layer]] = {}  # by the image's id

    async def size(self) -> int:
        """Bytes of all of them."""
        images = {image["Id"] for image in await self._engine.listed("images")}
        self._known = {image: layers for image, layers in self._known.items() if image in images}
        for image in sorted(images - self._known.keys()):
            steps = await self._engine.history(image)
            self._known[image] = frozenset((step["Created"], step["CreatedBy"], step["Size"]) for step in steps if step["Size"])
        return sum(size for _, _, size in frozenset[_Layer]().union(*self._known.values()))
