"""`/api/v1/admin`: what operators forbid, allow and bound while everything runs, and the pause. All of it needs the admin token."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request
from pydantic import ConfigDict, Field

from api.admin import need_admin
from api.bodies import PLAIN, Body, Page, Problem, Wanted
from api.services import services_of
from services import policy
from services.errors import NotFound
from services.policy import NewRule, RuleKind

router = APIRouter(prefix="/api/v1/admin", tags=["admin"], dependencies=[Depends(need_admin)], responses={
    401: {"model": Problem, "description": "Without a token."},
    403: {"model": Problem, "description": "With a token that is not the admin's."},
})
_RULE = "5f2d1c0b9a887766"


class WantedRule(Wanted):
    """A rule to make."""

    model_config = ConfigDict(extra="forbid", frozen=True, json_schema_extra={"examples": [
        {"kind": "banned", "pattern": "github.com/example/miner", "message": "This repository mines coins."},
        {"kind": "banned", "pattern": "gh/example/*", "seconds": 3600},
        {"kind": "allowed", "pattern": "github.com/our-university/*"},
        {"kind": "quota", "pattern": "github.com/our-university/course", "quota": 400},
        {"kind": "network", "pattern": "203.0.113.0/24", "message": "Too many launches came from your network. Write to help@example.org."},
    ]})

    kind: RuleKind = Field(
        description="banned: specs that may not be launched. allowed: if there are any, only these may. quota: launches and servers that a "
        "repository may have at a time. network: clients that may not launch. pause: as PUT /api/v1/admin/pause.")
    pattern: str = Field(
        default="", max_length=500, pattern=PLAIN, examples=["github.com/example/*"],
        description="A network; or a glob, in which * stands for anything, or with ^ at its begin a regular expression (RE2), against a "
        "repository (github.com/org/name, whichever way a link takes to it) or provider/spec (gh/org/name/ref).")
    message: str = Field(default="", max_length=1000, pattern=PLAIN, description="What the refused are told; empty: the usual sentence.")
    quota: int | None = Field(default=None, ge=0, le=1_000_000, description="For kind quota; 0 means no limit.")
    seconds: float | None = Field(default=None, gt=0, le=10 * 366 * 86400, description="For how long; none: until it is removed.")


class RuleBody(Body):
    """A rule that holds."""

    id: str = Field(examples=[_RULE])
    kind: RuleKind
    pattern: str = Field(examples=["github.com/example/*"])
    message: str = ""
    quota: int | None = None
    created_at: datetime
    expires_at: datetime | None = Field(default=None, description="None: it holds until it is removed.")
    created_by: str = Field(default="", examples=["admin"])


class WantedPause(Wanted):
    """A pause to begin."""

    model_config = ConfigDict(extra="forbid", frozen=True, json_schema_extra={"examples": [
        {"message": "We are moving to new machines and are back at 14:00.", "seconds": 3600}]})

    message: str = Field(default="", max_length=1000, pattern=PLAIN, description="The notice; empty: the usual sentence.")
    seconds: float | None = Field(default=None, gt=0, le=366 * 86400, description="For how long, if it is known: then refusals say so.")


class Pause(Body):
    """Whether launches are accepted."""

    paused: bool
    message: str = ""
    since: datetime | None = None
    until: datetime | None = None


def _body(rule: policy.Rule) -> RuleBody:
    return RuleBody.model_validate(rule)


@router.get("/rules", summary="List the rules")
async def rules(request: Request) -> Page[RuleBody]:
    """All that hold, newest first; what settings forbid is not among them."""
    return Page(items=[_body(rule) for rule in await policy.rules(services_of(request).teller.db)])


@router.post("/rules", status_code=201, summary="Make a rule", responses={
    400: {"model": Problem, "description": "The pattern cannot be read."}})
async def add(request: Request, body: WantedRule) -> RuleBody:
    """It holds in every process within a second, also for launches that wait; what runs goes on."""
    services = services_of(request)
    new = NewRule(body.kind, body.pattern, body.message, body.quota, body.seconds)
    rule = await policy.add_rule(services.teller.db, services.redis, new, by="admin")
    await services.policy.refresh()
    return _body(rule)


@router.delete("/rules/{rule_id}", status_code=204, summary="Remove a rule", responses={
    404: {"model": Problem, "description": "There is no such rule."}})
async def remove(request: Request, rule_id: Annotated[str, Path(max_length=40, pattern=PLAIN, examples=[_RULE])]) -> None:
    """It holds no more, in any process within a second."""
    services = services_of(request)
    if not await policy.remove_rule(services.teller.db, services.redis, rule_id, by="admin"):
        raise NotFound("There is no such rule. It may have run out.")
    await services.policy.refresh()


@router.get("/pause", summary="Whether launches are accepted")
async def paused(request: Request) -> Pause:
    """The pause, if there is one."""
    services = services_of(request)
    await services.policy.refresh()
    rule = services.policy.paused()
    if rule is None:
        return Pause(paused=False)
    return Pause(paused=True, message=rule.message, since=rule.created_at, until=rule.expires_at)


@router.put("/pause", summary="Accept no launches")
async def pause(request: Request, body: WantedPause) -> Pause:
    """New launches get 503 with this notice, which the pages show too; what waits and what runs goes on."""
    services = services_of(request)
    await policy.pause(services.teller.db, services.redis, body.message, by="admin", seconds=body.seconds)
    return await paused(request)


@router.delete("/pause", summary="Accept launches again")
async def resume(request: Request) -> Pause:
    """Harmless where there is no pause."""
    services = services_of(request)
    await policy.resume(services.teller.db, services.redis, by="admin")
    return await paused(request)
