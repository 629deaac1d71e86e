"""What keeps the pod of a starting server from running, read from its status: a sentence for the user, a verdict for the launcher."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deploy.hub.failure import BROKEN, UNLUCKY, VANISHED
from services.hub.verdict import Verdict

_ABSENT = re.compile(r"not found|manifest unknown|no such image|does not exist|pull access denied|repository .* unknown", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a pod does not become a server; `patience` is how many seconds it may last."""

    sentence: str
    verdict: Verdict
    patience: float = 0.0
    crashed: bool = False  # its log may say why


def trouble(pod: Mapping[str, Any]) -> Trouble | None:
    """What is wrong with the pod of a starting server, if anything is."""
    status = pod.get("status") or {}
    if status.get("phase") in ("Failed", "Succeeded"):
        words = status.get("reason") or ""
        ended = _terminated(status)
        return _crashed(ended) if ended else Trouble(f"The cluster ended the server's pod while it started ({words}).", UNLUCKY)
    for container in [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]:
        state = container.get("state") or {}
        waiting = state.get("waiting") or {}
        reason, words = str(waiting.get("reason") or ""), str(waiting.get("message") or "")[:300]
        if reason in ("ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull"):
            if _ABSENT.search(words) or reason == "ErrImageNeverPull":
                return Trouble("The image of this launch is not in the registry any more.", VANISHED)
            return Trouble(f"The image of this launch cannot be pulled ({reason}: {words}).", UNLUCKY, patience=30)
        if reason in ("InvalidImageName", "CreateContainerConfigError", "CreateContainerError", "RunContainerError"):
            return Trouble(f"The server's container cannot be made ({reason}: {words}).", BROKEN, patience=5)
        if reason == "CrashLoopBackOff":
            return _crashed((container.get("lastState") or {}).get("terminated") or {})
        if (ended := state.get("terminated")) and container.get("name") == "notebook":
            return _crashed(ended)
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            words = str(condition.get("message") or "").rstrip(". ")
            return Trouble(f"No node of the cluster has room for this server: {words}.", UNLUCKY, patience=float("inf"))
    return None


FULL = Trouble("The cluster's quota of servers is used up.", UNLUCKY, patience=float("inf"))


def _terminated(status: Mapping[str, Any]) -> Mapping[str, Any]:
    for container in status.get("containerStatuses") or ():
        if found := (container.get("state") or {}).get("terminated"):
            return dict(found)
    return {}


def _crashed(ended: Mapping[str, Any]) -> Trouble:
    if ended.get("reason") == "OOMKilled":
        return Trouble("The server was ended because it used more memory than it may use.", BROKEN)
    return Trouble(f"The server ended with status {ended.get('exitCode', '?')} before it could be used.", BROKEN, crashed=True)
