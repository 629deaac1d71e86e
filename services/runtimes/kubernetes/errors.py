"""What an API server may answer that somebody here has to tell apart.

    ClusterAway(Unreachable)   no answer, 5xx, 429: ask again after `pause` seconds
    ClusterRefused(Forbidden)  401, 403: the role is not enough, or a quota is used up
    Absent(NotFound)           404
    Taken                      409: an object of this name exists
    Expired                    410: the version to watch from is too old
    Rejected                   the object is not valid (400, 422)
"""

from services.errors import DockyardError, Forbidden, NotFound, Unreachable


class ClusterAway(Unreachable):
    """The cluster's API server does not answer now."""

    code = "cluster_unreachable"

    def __init__(self, sentence: str, pause: float | None = None) -> None:
        super().__init__(sentence)
        self.pause = pause  # seconds that the server asks to wait


class ClusterRefused(Forbidden):
    """The cluster does not allow this to our service account, or a quota is used up."""

    code = "cluster_refused"

    @property
    def quota(self) -> bool:
        """Whether waiting may help: resource quotas answer 403 too, and only in words."""
        return "exceeded quota" in self.sentence


class Absent(NotFound):
    """There is no such object."""


class Taken(DockyardError):
    """An object of this name exists already."""

    status = 409
    code = "taken"


class Expired(DockyardError):
    """The version to watch from is too old: list anew."""

    status = 410
    code = "expired"


class Rejected(DockyardError):
    """The cluster finds the object invalid."""

    code = "cluster_rejected"
