"""What a published record consists of, as its archive tells it: the files that a build downloads."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class File:
    """One file of a record."""

    path: str  # below the directory that is built, with slashes; not checked yet
    url: str  # http or https
    size: int = -1  # bytes; -1: the archive does not tell
    checksum: str = ""  # "md5:<hex>" or another of hashlib's; "": the archive does not tell
    unpack: str = ""  # "zip" or "tar": an archive, of which the content counts; "": the file as it is
    # Of an archive: the directory whose content is taken; "": all of it; "*": the only directory at its top, if there is one alone.
    inside: str = ""
    made: bool = False  # the archive makes it on demand, and answers JSON or a page until it is there

    def told(self) -> dict[str, Any]:
        """As the build's step reads it."""
        return asdict(self)
