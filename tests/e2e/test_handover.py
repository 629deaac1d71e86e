"""Builds that change hands: a worker that is killed, paused or told to stop, a launch that is cancelled and wanted again.

On the processes of `test_flow`; builds are held at a line until what shall happen to them meanwhile has happened.
"""

import asyncio
import contextlib
import signal

import httpx
import pytest

from bench.ports import free_port
from tests.e2e.test_flow import builds
from tests.stack import Stack, log_of, spec

pytestmark = pytest.mark.xdist_group("flow")


async def test_the_worker_killed_in_mid_build_is_replaced_and_nothing_shows(stack: Stack, name: str) -> None:
    script = f"lines-40+slow-0+hold-20+{name}"
    async with stack.stream(spec(script)) as stream:
        seen = [await stream.until(lambda event: event["message"] == "line 10 of 40\n")]
        before = (await builds(stack, name))[0].epoch
        await stack.kill("worker")
        stack.start("worker")
        await _taken(stack, name, before)
        stack.release(script)
        seen += [event async for event in stream]
    assert log_of(seen) == [f"line {n} of 40\n" for n in range(10, 41)]
    assert seen[-1]["phase"] == "ready"
    assert (await builds(stack, name))[0].attempt == 1


async def _taken(stack: Stack, name: str, epoch: int) -> None:
    """Wait until somebody has taken the build since this epoch."""
    statement = "SELECT 1 FROM build WHERE repo_url LIKE :name AND epoch > :epoch"
    await stack.until(lambda: stack.query(statement, name=f"%{name}%", epoch=epoch))


async def test_a_paused_worker_cannot_write_after_another_took_over(stack: Stack, name: str) -> None:
    stack.start("second", "worker")
    script = f"lines-40+slow-0+hold-10+{name}"
    async with stack.stream(spec(script)) as stream:
        seen = [await stream.until(lambda event: event["message"] == "line 5 of 40\n")]
        row = (await builds(stack, name))[0]
        pid = int(row.lease_owner.split(":")[1])
        paused = next(part for part, process in stack.processes.items() if process.pid == pid)
        await stack.kill(paused, signal.SIGSTOP)
        await _taken(stack, name, row.epoch)
        stack.release(script)
        seen += [event async for event in stream]
        await stack.kill(paused, signal.SIGCONT)
    assert log_of(seen) == [f"line {n} of 40\n" for n in range(5, 41)]
    assert seen[-1]["phase"] == "ready"
    # The paused one wakes up and finds that the row is not its own: no further line, one result.
    await stack.launch(spec(f"lines-1+slow-0+again+{name}"))
    assert (await builds(stack, name))[0].lines == 40
    await stack.kill("second", signal.SIGTERM)


async def test_a_worker_told_to_stop_hands_over_without_a_failed_attempt(stack: Stack, name: str) -> None:
    script, patient = f"lines-40+slow-0+hold-10+{name}", {"DOCKYARD_LEASES_SECONDS": "600"}  # what it does not give back it would keep
    await stack.kill("worker", signal.SIGTERM)
    stack.start("worker", **patient)
    async with stack.stream(spec(script)) as stream:
        seen = [await stream.until(lambda event: event["message"] == "line 5 of 40\n")]
        await stack.kill("worker", signal.SIGTERM)
        assert stack.processes["worker"].returncode == 0
        stack.start("worker", **patient)
        stack.release(script)
        seen += [event async for event in stream]
    assert log_of(seen) == [f"line {n} of 40\n" for n in range(5, 41)]
    row = (await builds(stack, name))[0]
    assert (row.attempt, row.crashes) == (1, 0)
    await stack.kill("worker", signal.SIGTERM)
    stack.start("worker")


async def test_the_last_waiters_cancel_ends_the_build_after_a_grace(stack: Stack, name: str) -> None:
    async with stack.stream(spec(f"hang+{name}")) as stream:
        event = await stream.until(lambda event: event.get("kind") == "building")
        launch = event["id"].split(".")[0]
        answer = await stack.client.delete(f"/api/v1/launches/{launch}")
        assert answer.status_code < 300
        ended = await stream.until(lambda event: event["phase"] == "failed")
        assert ended["kind"] == "cancelled"
    await stack.until(lambda: stack.query("SELECT 1 FROM build WHERE state = 'cancelled' AND repo_url LIKE :name", name=f"%{name}%"))
    # The image can be built again afterwards: a new generation.
    async with stack.stream(spec(f"hang+{name}")) as stream:
        event = await stream.until(lambda event: event.get("kind") == "building")
        again = event["id"]
    assert [row.generation for row in await builds(stack, name)] == [1, 2]
    await stack.client.delete(f"/api/v1/launches/{again.split('.')[0]}")


async def test_a_click_inside_the_grace_takes_the_cancel_back(stack: Stack, name: str) -> None:
    script, port = f"lines-30+slow-0+hold-10+{name}", free_port()
    stack.start("patient", "api", DOCKYARD_FRONT_PORT=str(port), DOCKYARD_BUILDS_GRACE="600")  # it is who gives the grace

    async def cancelled(launch: str) -> bool:
        with contextlib.suppress(httpx.TransportError):
            return (await stack.client.delete(f"http://127.0.0.1:{port}/api/v1/launches/{launch}")).status_code < 300
        return False

    async with stack.stream(spec(script)) as stream:
        event = await stream.until(lambda event: event.get("kind") == "building")
        await stack.until(lambda: cancelled(event["id"].split(".")[0]))
    assert [row.target for row in await builds(stack, name)] == ["cancelled"]
    again = asyncio.create_task(stack.launch(spec(script)))
    await stack.until(lambda: stack.query("SELECT 1 FROM build WHERE repo_url LIKE :name AND target = 'built'", name=f"%{name}%"))
    stack.release(script)
    assert (await again)[-1]["phase"] == "ready"
    await stack.kill("patient", signal.SIGTERM)
    assert [row.state for row in await builds(stack, name)] == ["built"]
