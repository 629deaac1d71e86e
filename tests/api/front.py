"""The front door for tests: the real routes on a real database. Nothing here resolves a link, so no forge is asked.

States are written by the one function that writes them in production, so pages and bodies see true rows.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from fastapi import FastAPI
from starlette.types import ASGIApp

from api import binder, problems
from api.build_tokens import BuildTokens
from api.leaving import Leaving
from api.metrics import ApiMetrics
from api.middleware import around
from api.openapi import describe
from api.routes import routers
from api.routes.health import Health
from api.services import ApiServices
from api.streams import Fanout
from api.streams.rows import events_after
from api.watch import Watch
from services.events import Kind, NewEvent, StoredEvent
from services.lifecycle import Move, Process
from services.names import new_id
from services.policy import Policy
from services.policy.bounds import bounds
from services.providers import make_providers
from services.secrets import Secret
from services.settings import Settings
from services.states import LaunchState
from services.usecases.create import Creator

COMMIT = "6ef7a6ad06a3a5c9d9a2d1b2e1a1c6a0d7a6f0b1"


class Front:
    """One api process in this event loop."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.process = Process(settings, "api")
        secret = Secret(settings.home.secret.get_secret_value())
        self.fanout = Fanout(self.process.db, self.process.redis, secret.server_token, settings.front.hold)
        watch = Watch(self.process.db, self.process.owner)
        self.policy = Policy(self.process.db, self.process.redis, settings.providers, settings.limits)
        self.services = ApiServices(
            settings=settings, providers=make_providers(settings.providers, settings.egress), teller=self.process.teller,
            redis=self.process.redis,
            creator=Creator(self.process.db, self.process.bell, bounds(settings.limits, settings.front)), fanout=self.fanout, secret=secret,
            policy=self.policy,
            tokens=BuildTokens(settings.front, secret), watch=watch, leaving=Leaving(),
            metrics=ApiMetrics(self.process.metrics, self.process.db, watch, lambda: self.fanout.watchers),
        )
        self.inner = FastAPI(version="0.1.0", openapi_url="/api/v1/openapi.json", docs_url=None, redoc_url=None,
                             redirect_slashes=False)
        problems.install(self.inner)
        self.inner.state.services = self.services
        self.inner.state.health = Health(self.services)
        for router in routers(settings.front):
            self.inner.include_router(router)
        describe(self.inner, settings.front.base_url)
        self.app: ASGIApp = around(binder.Door(self.inner), settings.front)

    async def aclose(self) -> None:
        await self.inner.state.health.aclose()
        await self.fanout.aclose()
        for provider in self.services.providers.values():
            await provider.aclose()
        await self.process.aclose()

    async def launch(self, spec: str = "norvig/pytudes/HEAD", **values: Any) -> str:
        """A launch in `waiting`; values are columns."""
        launch = new_id()
        owner, repo, ref = spec.split("/", 2)
        columns = {
            "id": launch, "state": "waiting", "seq": 1, "caller": "test", "client": "127.0.0.1", "provider": "gh",
            "spec": spec, "repo": f"{owner}/{repo}", "ref": ref, "options": json.dumps(values.pop("options", {})),
        } | values
        names = ", ".join(columns)
        marks = ", ".join(f"CAST(:{name} AS jsonb)" if name == "options" else f":{name}" for name in columns)
        await self.process.db.rows(sa.text(f"INSERT INTO launch ({names}) VALUES ({marks})"), columns)
        await self.process.db.rows(sa.text(
            "INSERT INTO event (launch, seq, kind, state, data) VALUES (:id, 1, 'waiting', 'waiting', '{}')"), {"id": launch})
        return launch

    async def move(self, launch: str, to: LaunchState | None, *events: NewEvent, **values: Any) -> None:
        """The next state."""
        moved = await self.process.teller.move(Move(launch, to, events, values=values))
        assert moved is not None, f"{launch} cannot move to {to}"

    async def told(self, launch: str) -> list[StoredEvent]:
        """The newest event of a launch."""
        return list(await events_after(self.process.db, {launch: 0}))[-1:]

    async def build(self, image: str = "r2d-norvig-2dpytudes-1a2b3c:6ef7a6", **values: Any) -> str:
        """A queued build; values are columns."""
        build = new_id()
        columns = {
            "id": build, "image": image, "provider": "gh", "repo_url": "https://github.com/norvig/pytudes", "commit": COMMIT,
        } | values
        names = ", ".join(columns)
        marks = ", ".join(f"CAST(:{name} AS jsonb)" if name == "reason" else f":{name}" for name in columns)
        columns = {key: json.dumps(value) if key == "reason" else value for key, value in columns.items()}
        await self.process.db.rows(sa.text(f"INSERT INTO build ({names}) VALUES ({marks})"), columns)
        return build

    async def set_build(self, build: str, **values: Any) -> None:
        """Write columns of a build."""
        sets = ", ".join(f"{key} = CAST(:{key} AS jsonb)" if key == "reason" else f"{key} = :{key}" for key in values)
        values = {key: json.dumps(value) if key == "reason" else value for key, value in values.items()}
        await self.process.db.rows(sa.text(f"UPDATE build SET {sets} WHERE id = :id"), {"id": build, **values})

    async def log(self, build: str, first: int, messages: Sequence[str], phase: str = "building") -> int:
        """Lines of a build's log; the number of the last one."""
        last = first + len(messages) - 1
        body = "\n".join(json.dumps({"phase": phase, "message": message}) for message in messages)
        await self.process.db.rows(sa.text(
            "INSERT INTO log_chunk (build, first, last, body) VALUES (:build, :first, :last, :body)"),
            {"build": build, "first": first, "last": last, "body": body})
        await self.set_build(build, lines=last)
        self.process.wake.publish(builds={build: last})
        return last

    # -- whole stories -----------------------------------------------------------------------------------------

    async def building(self, **values: Any) -> tuple[str, str]:
        """A launch that waits for a build under way."""
        launch, build = await self.launch(**values), await self.build(f"image-{new_id()[:8]}:x")
        await self.move(launch, LaunchState.RESOLVING, NewEvent(Kind.RESOLVING))
        await self.move(
            launch, LaunchState.BUILDING, NewEvent(Kind.BUILDING, {"build": build}), build=build, resolved_ref=COMMIT,
            repo_url="https://github.com/norvig/pytudes", ref_url=f"https://github.com/norvig/pytudes/tree/{COMMIT}",
        )
        await self.set_build(build, state="building")
        return launch, build

    async def fail(self, launch: str, build: str, reason: Mapping[str, str], lines: int) -> None:
        """The build fails, and the launch with it."""
        await self.set_build(build, state="failed", reason=reason)
        await self.process.db.rows(sa.text("UPDATE build SET ended_at = now() WHERE id = :id"), {"id": build})
        event = NewEvent(Kind.FAILED, {"reason": dict(reason), "log_end": lines})
        await self.move(launch, LaunchState.FAILED, event, reason=dict(reason))

    async def server(self, launch: str, seconds: float, why: str = "idle") -> None:
        """The server of a ready launch, which will be stopped in some seconds."""
        await self.process.db.rows(sa.text("""
            INSERT INTO server (id, launch, attempt, image, user_name, state, ends_at, ends_why)
            VALUES ('s' || :launch, :launch, 1, 'image:x', 'u-' || :launch, 'running', now() + :seconds * interval '1 second', :why)
        """), {"launch": launch, "seconds": seconds, "why": why})

    async def end_soon(self, launch: str, seconds: float) -> float:
        """What the reaper does before the end: it writes down that it has told, and tells. When it will be, since 1970."""
        (row,) = await self.process.db.rows(sa.text("""
            UPDATE server SET warned_at = now(), ends_at = now() + :seconds * interval '1 second' WHERE launch = :launch
            RETURNING extract(epoch FROM ends_at)::float8 AS at, ends_why
        """), {"launch": launch, "seconds": seconds})
        await self.move(launch, None, NewEvent(Kind.ENDING, {"ends_at": row.at, "why": row.ends_why, "message": "It will be stopped."}))
        return float(row.at)

    async def use(self, launch: str) -> None:
        """What the reaper writes once it knows that somebody uses the server."""
        await self.process.db.rows(sa.text(
            "UPDATE server SET warned_at = NULL, ends_at = now() + interval '600 s' WHERE launch = :launch"), {"launch": launch})

    async def ready(self, launch: str, url: str = "http://localhost:8001/user/norvig-pytudes-abcd1234/") -> None:
        """From wherever it is to a running server."""
        await self.move(launch, LaunchState.LAUNCHING, NewEvent(Kind.LAUNCHING), image="image:x")
        await self.move(launch, LaunchState.READY, NewEvent(Kind.READY, {"url": url, "server": new_id()}), url=url)
