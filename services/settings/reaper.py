"""Settings of the reaper: what ends, what goes, and when."""

from typing import ClassVar

from pydantic import Field

from services.settings.base import Group


class ReaperSettings(Group):
    """What is cleaned up, and when."""

    group: ClassVar[str] = "reaper"
    idle: float = Field(600.0, ge=0, description="Seconds without activity until a server is stopped; 0: never.")
    max_age: float = Field(6 * 3600.0, ge=0, description="Seconds until a server is stopped whatever it does; 0: never.")
    unopened: float = Field(300.0, ge=0, description="Seconds until a server that nobody has opened is stopped, if nobody watches its launch; 0: as idle ones.")
    abandoned: float = Field(900.0, ge=0, description="Seconds until a launch under way that nobody watches or asks for is cancelled; those that only build go on. 0: never.")
    warn: float = Field(120.0, ge=0, description="Seconds before the end of a server at which its launch is told of it.")
    busy: bool = Field(True, description="Whether a kernel that computes, or a terminal in use, is activity even where no browser is connected. Servers are asked for it before they are stopped for idleness.")
    servers_url: str = Field("", description="Where the reaper reaches the user servers, such as http://proxy:8000/, for that question; empty: hub.public_url.")
    every: float = Field(15.0, gt=0, description="Seconds between sweeps.")
    hub_every: float = Field(30.0, gt=0, description="Seconds between two readings of all active users of the hub; a slow hub is read less often.")
    batch: int = Field(100, ge=1, description="Servers that one sweep ends at most; the next one goes on.")
    orphan_age: float = Field(60.0, ge=0, description="Seconds that something unknown may run before it is removed.")
    images_every: float = Field(300.0, gt=0, description="Seconds between two looks at the disk and the images on it.")
    disk_high: float = Field(0.92, gt=0, le=1, description="Share of home.disk_budget, or of the whole disk where there is no budget, from which images are removed that nobody uses, those first that were not used for longest.")
    disk_low: float = Field(0.80, gt=0, le=1, description="Share down to which they are removed.")
    image_hours: float = Field(1.0, ge=0, description="Hours since its last use that an image is kept in any case.")
    image_days: float = Field(0.0, ge=0, description="Days without use after which an image is removed even where there is room; 0: never.")
    registry: bool = Field(False, description="Whether images are deleted from the registry too, by image_days, and environments with their last image; space is freed by the registry's own collection.")
    migrate: bool = Field(True, description="Whether the reaper runs the migrations of the phase after, once no process of older code is left; if not: ./dockyard migrate --phase after.")
    keep_days: float = Field(30.0, gt=0, description="Days that ended launches with their events, and builds, are kept.")
    keep_log_days: float = Field(30.0, gt=0, description="Days that the logs of ended builds are kept; not longer than the builds.")
    keep_address_days: float = Field(7.0, ge=0, description="Days after its end that the network address of a launch's client is kept.")
