"""Every error that a user or a caller can see.

    DockyardError                     base; has a sentence for the user, an HTTP status and a stable code
    ├── BadRequest                    400  the request itself cannot be understood
    │   ├── BadSpec                   400  the spec is malformed
    │   ├── UnknownProvider           404  no provider has this prefix
    │   └── ForbiddenAddress          403  the link leads to an address that may not be fetched
    ├── Unresolved                    404  the repository or ref does not exist
    ├── Forbidden                     403  it exists, but not for us
    ├── Unreachable                   502  the other side does not answer; retry may help
    │   └── RateLimited               503  the other side refuses for now
    ├── NotFound                      404  no such launch, build or server
    ├── Refused                       403  the caller may not do this
    │   ├── TokenNeeded               403  a launch needs a build token here
    │   └── BannedNetwork             403  clients of this network may not launch
    ├── KeyReused                     422  an idempotency key came with another request than before
    ├── Overloaded                    429  a limit is reached; carries the seconds to wait
    ├── Paused                        503  an administrator has stopped the accepting of launches
    ├── BuildFailed                   the build ended without an image
    ├── LaunchFailed                  the hub could not start the server
    │   └── ImageVanished             the image was there and is gone
    ├── LeaseLost                     somebody else owns this row now
    └── Misconfigured                 a setting is wrong; names its key

The text of an error is a sentence that tells the user what happened and what to do.
"""


class DockyardError(Exception):
    """Base of all errors with a sentence for the user."""

    status: int = 500
    code: str = "internal"
    retryable: bool = False

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence


class BadRequest(DockyardError):
    """The request itself cannot be understood."""

    status = 400
    code = "bad_request"


class BadSpec(BadRequest):
    """The spec is malformed for its provider."""

    code = "bad_spec"


class UnknownProvider(BadRequest):
    """No provider has this prefix."""

    status = 404
    code = "unknown_provider"


class ForbiddenAddress(BadRequest):
    """The link leads to an address or protocol that may not be fetched."""

    status = 403
    code = "forbidden_address"


class Unresolved(DockyardError):
    """The repository or the ref does not exist (or is private)."""

    status = 404
    code = "unresolved"


class Forbidden(DockyardError):
    """The other side knows the repository but refuses it to us."""

    status = 403
    code = "forbidden"


class Unreachable(DockyardError):
    """The other side does not answer; trying again later may help.

    `away` is False where it answers, but nothing of use; `stranger` is True where its address is a user's, who may have mistyped it.
    """

    status = 502
    code = "unreachable"
    retryable = True

    def __init__(self, sentence: str, *, away: bool = True) -> None:
        super().__init__(sentence)
        self.away = away
        self.stranger = False


class RateLimited(Unreachable):
    """The other side answers that we ask too often."""

    status = 503
    code = "rate_limited_upstream"


class NotFound(DockyardError):
    """No such launch, build or server."""

    status = 404
    code = "not_found"


class Refused(DockyardError):
    """The caller may not do this."""

    status = 403
    code = "refused"


class TokenNeeded(Refused):
    """Launches need a build token here; our own pages ask for a new one."""

    code = "build_token"


class BannedNetwork(Refused):
    """Clients of this network may not launch."""

    code = "banned_network"


class KeyReused(DockyardError):
    """An idempotency key came with another request than the one that it stands for."""

    status = 422
    code = "idempotency_key_reused"


class Overloaded(DockyardError):
    """A limit is reached; `retry_after` is in seconds, `limit` is the setting that was hit, where it is one."""

    status = 429
    code = "overloaded"
    retryable = True

    def __init__(self, sentence: str, retry_after: int, limit: str = "") -> None:
        super().__init__(sentence)
        self.retry_after = retry_after
        self.limit = limit


class Paused(DockyardError):
    """An administrator has stopped the accepting of launches; `retry_after` is in seconds."""

    status = 503
    code = "paused"
    retryable = True

    def __init__(self, sentence: str, retry_after: int) -> None:
        super().__init__(sentence)
        self.retry_after = retry_after


class BuildFailed(DockyardError):
    """The build ended without an image."""

    code = "build_failed"


class LaunchFailed(DockyardError):
    """The hub could not start the server; `retryable` says whether another attempt can help."""

    code = "launch_failed"

    def __init__(self, sentence: str, *, retryable: bool = False) -> None:
        super().__init__(sentence)
        self.retryable = retryable


class ImageVanished(LaunchFailed):
    """The image was there and is gone; it has to be built again."""

    code = "image_vanished"


class LeaseLost(DockyardError):
    """The row has another owner or another epoch now; the work in hand must stop without writing."""

    code = "lease_lost"


class Misconfigured(DockyardError):
    """A setting is wrong; the sentence names its key."""

    code = "misconfigured"
