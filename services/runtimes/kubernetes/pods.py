"""What a pod's status means for the build in it, as a sentence for its user: a pure function of the pod.

Kubernetes says the same thing in many places: the pod's reason (Evicted, DeadlineExceeded), its conditions
(Unschedulable), the state of its container (ImagePullBackOff, OOMKilled). Here they become four: it waits, it runs, it
has ended, it is going away. How long waiting may last is the follower's affair.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.runtimes.base import Exit
from services.runtimes.kubernetes.objects import Object

CONTAINER = "build"
FETCHING = "fetch"  # comes first where a repository is private

# Reasons of a waiting container that time alone will not mend; the operator's setting is wrong or a secret is missing.
_IMAGE = frozenset({
    "ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError", "RegistryUnavailable",
})
_CONFIGURATION = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError", "StartError", "ContainerCannotRun"})


@dataclass(frozen=True, slots=True)
class Waits:
    """The pod does not run yet. `why` is empty as long as nothing is wrong."""

    kind: str  # "": usual; schedule: no node has room; image: the build image cannot be had; pod: its container cannot be made
    why: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Runs:
    """The container runs."""


@dataclass(frozen=True, slots=True)
class Goes:
    """Somebody deletes the pod: a drained node, an operator, a worker that stops the build."""


State = Waits | Runs | Goes | Exit
GONE = Exit(ok=False, reason="The pod of this build was removed from the cluster.", retryable=True)


def state(pod: Object, memory_limit: str = "", seconds: float = 0) -> State:
    """What the pod says; `memory_limit` and `seconds` (its deadline) are for the sentences."""
    status: Object = pod.get("status") or {}
    container = _container(status)
    inner: Object = container.get("state") or {}
    if status.get("phase") in ("Succeeded", "Failed"):
        return _ended(status, inner.get("terminated") or {}, memory_limit, seconds)
    if (pod.get("metadata") or {}).get("deletionTimestamp"):
        return Goes()
    if terminated := inner.get("terminated"):
        return _ended(status, terminated, memory_limit, seconds)
    if "running" in inner:
        return Runs()
    before: Object = _container(status, "initContainerStatuses", FETCHING).get("state") or {}
    if waiting := before.get("waiting") or inner.get("waiting"):
        return _waits(waiting)
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            words = str(condition.get("message") or condition.get("reason") or "").rstrip(". ")
            return Waits(
                "schedule", f"No node of the cluster has room for this build yet: {words}.",
                "The cluster is full, or no node matches the settings of the builds. Try again later.")
    return Waits("")


def _container(status: Object, kind: str = "containerStatuses", name: str = CONTAINER) -> Object:
    for container in status.get(kind) or ():
        if container.get("name") == name:
            found: Object = container
            return found
    return {}


def _waits(waiting: Object) -> Waits:
    reason, words = str(waiting.get("reason") or ""), str(waiting.get("message") or "").strip()
    if reason in _IMAGE:
        return Waits(
            "image", f"The image that builds run in cannot be had ({reason}{_in_short(words)}).",
            "This is a fault of the installation, not of the repository: tell its administrator.")
    if reason in _CONFIGURATION:
        return Waits(
            "pod", f"The container of this build cannot be made ({reason}{_in_short(words)}).",
            "This is a fault of the installation, not of the repository: tell its administrator.")
    return Waits("")


def _in_short(words: str) -> str:
    return f": {words[:300]}" if words else ""


def _ended(status: Object, terminated: Object, memory_limit: str, seconds: float) -> Exit:
    reason, words = str(status.get("reason") or ""), str(status.get("message") or "").strip()
    if reason == "Evicted":
        disk = "ephemeral" in words.lower() or "emptydir" in words.lower() or "disk" in words.lower()
        if disk and ("exceeds" in words.lower() or "limit" in words.lower()):
            return Exit(ok=False, reason=f"The build was stopped because it used more disk than it may ({words.rstrip('. ')}).",
                        hint="Make the repository or its environment smaller.")
        return Exit(ok=False, reason=f"The cluster took the build's node away (evicted{_in_short(words.rstrip('. '))}).", retryable=True)
    if reason == "DeadlineExceeded":
        limit = f" of {seconds:.0f} seconds" if seconds else ""
        return Exit(ok=False, reason=f"The build was stopped because it took longer than its limit{limit}.",
                    hint="Make the environment smaller, or ask the administrator for more time.")
    if reason in ("NodeLost", "NodeShutdown", "Shutdown", "Terminated", "Preempting", "NodeAffinity", "UnexpectedAdmissionError") or (
        reason.startswith("OutOf") and not terminated
    ):
        return Exit(ok=False, reason=f"The cluster lost the build's pod ({reason}{_in_short(words)}).", retryable=True)
    if terminated.get("reason") == "OOMKilled":
        return Exit(ok=False, reason=f"The build was ended because it used more memory than the {memory_limit or 'limit'} it may use.",
                    hint="Install less, or ask the administrator for a higher limit.")
    if not terminated:
        return Exit(ok=False, reason=f"The pod of the build ended without a result ({reason or status.get('phase')}{_in_short(words)}).",
                    retryable=True)
    return _result(terminated)


def _result(terminated: Object) -> Exit:
    """The exit status, and what the build program wrote about itself into the termination message."""
    code = int(terminated.get("exitCode") or 0)
    told = _told(str(terminated.get("message") or ""))
    if code == 0:
        return Exit(ok=True, facts=_texts(told.get("facts")))
    if reason := str(told.get("reason") or ""):
        return Exit(ok=False, reason=reason, hint=str(told.get("hint") or ""), retryable=bool(told.get("retryable")),
                    facts=_texts(told.get("facts")))
    if code == 137:
        return Exit(ok=False, reason="The build was killed (status 137); most often it needed more memory than it may use.")
    return Exit(ok=False, reason=f"The build failed with status {code}.", hint="The last lines of its log say why.")


def _told(message: str) -> Mapping[str, Any]:
    try:
        found = json.loads(message)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _texts(found: Any) -> dict[str, str]:
    return {str(key): str(value) for key, value in found.items()} if isinstance(found, dict) else {}
