"""What a pod's status means, as a table; the statuses are as Kubernetes 1.20 to 1.37 write them."""

from typing import Any

import pytest

from services.runtimes.base import Exit
from services.runtimes.kubernetes.pods import Goes, Runs, Waits, state


def pod(state_: dict[str, Any] | None = None, *, deleted: bool = False, **status: Any) -> dict[str, Any]:
    """A pod with this container state and these keys of its status."""
    metadata = {"name": "p"} | ({"deletionTimestamp": "2026-01-01T00:00:00Z"} if deleted else {})
    if state_ is not None:
        status["containerStatuses"] = [{"name": "build", "state": state_}]
    return {"metadata": metadata, "status": status}


def ended(code: int, **more: Any) -> dict[str, Any]:
    """A pod whose container has ended."""
    return pod({"terminated": {"exitCode": code, **more}}, phase="Failed" if code else "Succeeded")


OTHERS = {
    "no status yet": (pod(), Waits("")),
    "pulled": (pod({"waiting": {"reason": "ContainerCreating"}}, phase="Pending"), Waits("")),
    "running": (pod({"running": {"startedAt": "…"}}, phase="Running"), Runs()),
    "deleted": (pod({"running": {}}, deleted=True, phase="Running"), Goes()),
    "ended well": (ended(0), Exit(ok=True)),
    "ended well and deleted": (pod({"terminated": {"exitCode": 0}}, deleted=True, phase="Succeeded"), Exit(ok=True)),
    "container ended before its pod": (pod({"terminated": {"exitCode": 0}}, phase="Running"), Exit(ok=True)),
    "facts": (ended(0, message='{"facts": {"environment": "e"}}'), Exit(ok=True, facts={"environment": "e"})),
    "told": (ended(1, message='{"reason": "pip found no numpy.", "hint": "Mend it."}'),
             Exit(ok=False, reason="pip found no numpy.", hint="Mend it.")),
    "a message that is no object": (ended(0, message="[]"), Exit(ok=True)),
}


@pytest.mark.parametrize("case", OTHERS)
def test_states(case: str) -> None:
    """A pod waits, runs, goes or has ended."""
    found, expected = OTHERS[case]
    assert state(found) == expected


WAITS = {
    "schedule": pod(phase="Pending", conditions=[{
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes are available."}]),
    "image": pod({"waiting": {"reason": "ErrImagePull", "message": "not found"}}, phase="Pending"),
    "pod": pod({"waiting": {"reason": "CreateContainerConfigError", "message": "no secret"}}, phase="Pending"),
}


@pytest.mark.parametrize("kind", WAITS)
def test_waits_with_a_sentence(kind: str) -> None:
    """What is wrong is said, with a hint."""
    found = state(WAITS[kind])
    assert isinstance(found, Waits)
    assert found.kind == kind
    assert found.why.endswith(".") or found.why.endswith(").")
    assert found.hint


ENDS = {
    "oom": (ended(137, reason="OOMKilled"), "more memory than the 4Gi", False),
    "killed inside": (ended(137, reason="Error"), "killed (status 137)", False),
    "failed": (ended(3, reason="Error"), "status 3", False),
    "deadline": (pod(phase="Failed", reason="DeadlineExceeded", message="Pod was active on the node longer than …"), "60 seconds", False),
    "disk": (pod(phase="Failed", reason="Evicted", message="Pod ephemeral local storage usage exceeds the total limit of containers 1Gi. "),
             "more disk than it may", False),
    "volume": (pod(phase="Failed", reason="Evicted", message='Usage of EmptyDir volume "work" exceeds the limit "1Gi". '),
               "more disk than it may", False),
    "evicted for the node": (pod(phase="Failed", reason="Evicted", message="The node was low on resource: memory. "), "evicted", True),
    "node went": (pod(phase="Failed", reason="NodeLost", message="Node went away"), "lost", True),
    "node shut down": (pod(phase="Failed", reason="Terminated", message="Pod was terminated in response to imminent node shutdown."),
                       "lost", True),
    "kubelet refused": (pod(phase="Failed", reason="OutOfcpu", message="Node didn't have enough resource: cpu"), "lost", True),
    "no result": (pod(phase="Failed"), "without a result", True),
}


@pytest.mark.parametrize("case", ENDS)
def test_ends_with_a_sentence(case: str) -> None:
    """The reason says what happened; only the cluster's faults get another attempt."""
    found, words, again = ENDS[case]
    end = state(found, "4Gi", 60)
    assert isinstance(end, Exit)
    assert not end.ok
    assert words in end.reason
    assert end.retryable is again
