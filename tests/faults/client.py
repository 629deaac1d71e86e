"""A client that asks for a launch, loses its connection as often as it likes, comes back by `Last-Event-ID`, and checks
every event: each number once and in order, each line of the log once and in order, one end.
"""

import asyncio
import contextlib
import json
import re
import time
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.faults.asks import Ask, fake

ENDS = frozenset({"ready", "done", "failed", "cancelled", "stopped"})
NUMBERED = re.compile(r"(?:^|\s)line (\d+) of (\d+)\n$")  # buildx puts a time before it


@dataclass
class Story:
    """What one client has seen."""

    script: str
    begun: float = field(default_factory=time.monotonic)
    launch: str = ""
    last: str = ""
    event: int = 0
    line: int = 0
    end: str = ""  # kind of the last event
    reason: str = ""
    ready: float = 0.0  # seconds until the end
    server: str = ""  # address of the server, with the token
    sound: bool = True  # nothing is wrong with the repository
    connections: int = 0
    wrong: list[str] = field(default_factory=list)
    _step: int = 0  # the last `line k of N` of this attempt at the build

    def take(self, place: str, body: dict[str, Any]) -> None:
        """Check one event."""
        launch, event, line = place.split(".")
        number, log_line = int(event), int(line)
        if self.launch and launch != self.launch:
            self._complain(f"is told of another launch, {launch}")
        self.launch, self.last = launch, place
        if "kind" in body:
            if number != self.event + 1:
                self._complain(f"event {number} after {self.event}")
            self.event = number
            if body["kind"] == "building":
                self.line = self._step = 0
            elif log_line != self.line:
                self._complain(f"{body['kind']} names line {log_line} after {self.line}")
            if self.end and body["kind"] != "ending":
                self._complain(f"{body['kind']} after {self.end}")
            if body["kind"] in ENDS:
                self.end, self.ready = body["kind"], time.monotonic() - self.begun
                self.reason = body["message"].strip() if body["phase"] == "failed" else ""
                if body["kind"] == "ready":
                    self.server = f"{body['url']}api/status?token={body['token']}"
                if body["phase"] == "failed" and not self.reason:
                    self._complain("failed without a reason")
            return
        if number != self.event or log_line != self.line + 1:
            self._complain(f"line {number}.{log_line} after {self.event}.{self.line}")
        self.line = log_line
        found = NUMBERED.search(body["message"])
        if found is None:
            self._step = 0 if "Trying again" in body["message"] else self._step
            return
        if int(found[1]) != self._step + 1:
            self._complain(f"'{found[0].strip()}' after line {self._step}")
        self._step = int(found[1])

    def _complain(self, what: str) -> None:
        self.wrong.append(f"{self.script} {self.launch[:12]}: {what}")


async def follow(client: httpx.AsyncClient, ask: Ask | str, *, patience: float = 300.0) -> Story:
    """Ask for a launch and follow it to its end, whatever happens to the connection.

    The client itself drops each of its first three connections after `ask.cut` seconds. One that has not yet been told its
    launch's id asks anew, as an EventSource does. `patience` in seconds.
    """
    if isinstance(ask, str):
        ask = fake(ask)
    story = Story(ask.name, sound=ask.sound)
    try:
        async with asyncio.timeout(patience):
            while not story.end:
                story.connections += 1
                limit = ask.cut if ask.cut and story.connections <= 3 else None
                try:
                    async with asyncio.timeout(limit):
                        if await _read(client, f"/build/{ask.path}", story):
                            return story
                except (TimeoutError, httpx.TransportError):
                    if asyncio.current_task().cancelling():  # type: ignore[union-attr]
                        raise
                await asyncio.sleep(0.2)
    except TimeoutError:
        story.wrong.append(f"{ask.name} {story.launch[:12] or '(never accepted)'}: no end within {patience:.0f} s, at {story.last}")
    return story


async def use(client: httpx.AsyncClient, story: Story, *, patience: float = 120.0) -> None:
    """See that the server of a ready launch answers with its token, or that the launch says that it is over."""
    deadline = time.monotonic() + patience
    while True:
        with contextlib.suppress(httpx.TransportError):
            if (await client.get(story.server, timeout=10)).status_code == 200:
                return
            found = await client.get(f"/api/v1/launches/{story.launch}", timeout=10)
            if found.status_code == 200 and found.json()["state"] != "ready":
                return
        if time.monotonic() > deadline:
            story.wrong.append(f"{story.script} {story.launch[:12]}: its server did not answer within {patience:.0f} s")
            return
        await asyncio.sleep(0.5)


async def stop(client: httpx.AsyncClient, launch: str) -> None:
    """Stop or cancel a launch, asking again until that is accepted."""
    while True:
        with contextlib.suppress(httpx.TransportError):
            answer = await client.delete(f"/api/v1/launches/{launch}", timeout=10)
            if answer.status_code < 300 or answer.status_code in (404, 409):
                return
        await asyncio.sleep(0.3)


async def _read(client: httpx.AsyncClient, path: str, story: Story) -> bool:
    """One connection; True if there is nothing more to come."""
    headers = {"accept": "text/event-stream", **({"last-event-id": story.last} if story.last else {})}
    place = ""
    async with client.stream("GET", path, headers=headers, timeout=httpx.Timeout(10, read=30)) as response:
        if response.status_code == 204:
            return True
        if response.status_code != 200:
            return False
        async for text in response.aiter_lines():
            if text.startswith("id: "):
                place = text[4:]
            elif text.startswith("data: "):
                body = json.loads(text[6:])
                if not place:
                    return False  # refused before it was a launch: ask again
                story.take(place, body)
    return bool(story.end)
