"""What the Docker engine answers when something is wrong, as errors of ours. See `engine`."""

import contextlib
from typing import Any

import docker.errors
import requests.exceptions
import urllib3.exceptions

from services.errors import Unreachable

LOST = (docker.errors.DockerException, requests.exceptions.RequestException, urllib3.exceptions.HTTPError, OSError)


def closed(stream: Any) -> None:
    """End a log that another thread reads."""
    with contextlib.suppress(*LOST, ValueError, AttributeError):
        stream.close()


def translated(error: Exception) -> Exception | None:
    """Our error for one that reading a stream has met; None where it is nobody's we know."""
    # The last two come where a stream is closed under its reader's hands.
    return unreachable(error) if isinstance(error, (*LOST, ValueError, AttributeError)) else None


def image_in(error: Exception) -> str:
    """The image that is missing, as the engine names it."""
    text = str(getattr(error, "explanation", "") or error)
    return text.rpartition("No such image: ")[2].strip('")') or "that was asked for"


def unreachable(error: BaseException) -> Unreachable:
    """The engine's refusal or silence, in a sentence."""
    words = str(getattr(error, "explanation", "") or error).strip() or type(error).__name__
    if isinstance(error, docker.errors.APIError) and not error.is_server_error():
        return Unreachable(f"The Docker engine refuses: {words[:300]}.")
    return Unreachable(f"The Docker engine does not answer: {words[:300]}.")
