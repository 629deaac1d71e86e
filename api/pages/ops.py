"""The ops page: whether it is healthy, how much waits, what fails, what we stand on, every job; for somebody at three at night.

It is whole without its script. With it the page asks for what has changed every two seconds, by a hash for each section, and puts
only that in place, so that it costs little with a thousand jobs and nothing jumps. Signing in exchanges the admin token for a cookie;
`up` prints an address with the token after `#`, which browsers keep to themselves. What acts is asked for first on a page of its own
(the script shows it as a dialog), and is a POST that only our own pages can make: see `api.admin`.

A launch is named here by the first twelve digits of its id, and nothing leads to its own page, which would open the user's server.
"""

import hashlib
from dataclasses import dataclass, replace
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, Query, Request
from markupsafe import Markup
from starlette.responses import JSONResponse, RedirectResponse, Response

from api.admin import is_admin, is_token, need_admin, sign_in, sign_out
from api.lines import plain
from api.ops import curves, times
from api.ops.act import Act
from api.ops.acts import ACTS, act_of, needs
from api.ops.picture import Picture, Pictures
from api.ops.verdict import judge, size
from api.pages.render import page, templates
from api.pages.story import duration
from api.services import ApiServices, services_of
from services.errors import DockyardError, NotFound
from services.lifecycle.roll import SILENT
from services.states import LAUNCH_OPEN
from services.usecases import jobs

router = APIRouter(include_in_schema=False)
admin = [Depends(need_admin)]
MOST = 50  # rows of the table
SECTIONS = ("state", "numbers", "trouble", "jobs", "processes", "day")


@dataclass(frozen=True, slots=True)
class Asked:
    """Which jobs are shown."""

    kind: Annotated[str, Query(pattern="^(launch|build)$")] = "launch"
    q: Annotated[str, Query(max_length=300)] = ""
    skip: Annotated[int, Query(ge=0, le=10_000)] = 0


@router.get("/ops")
async def ops(request: Request, asked: Annotated[Asked, Depends()]) -> Response:
    """The page, or the form that asks for the token."""
    if not is_admin(request):
        return page(request, "ops_login.html", framed=False, wrong="")
    sections = await _sections(request, asked)
    return page(request, "ops.html", framed=False, sections=sections, asked=asked, hashes={k: _hash(v) for k, v in sections.items()})


@router.post("/ops/login")
async def login(request: Request, token: Annotated[str, Form(max_length=400)] = "") -> Response:
    """Take the token and give a cookie."""
    if not is_token(request, token.strip()):
        return page(request, "ops_login.html", framed=False, status=403, wrong="This is not the admin token.")
    response = RedirectResponse(f"{services_of(request).settings.front.base_url}ops", 303)
    sign_in(request, response)
    return response


@router.post("/ops/logout")
async def logout(request: Request) -> Response:
    """Take the cookie back."""
    response = RedirectResponse(services_of(request).settings.front.base_url, 303)
    sign_out(request, response)
    return response


@router.get("/ops/fresh", dependencies=admin)
async def fresh(request: Request, asked: Annotated[Asked, Depends()], seen: Annotated[str, Query(max_length=400)] = "") -> Response:
    """The sections whose hashes are not among those `seen`."""
    known = set(seen.split("."))
    sections = await _sections(request, asked)
    changed = {name: {"hash": _hash(html), "html": html} for name, html in sections.items() if _hash(html) not in known}
    return JSONResponse(changed, headers={"cache-control": "no-store"})


@router.get("/ops/{kind}/{job_id}", dependencies=admin)
async def job(request: Request, kind: str, job_id: str) -> Response:
    """One job: what it is, its timeline, its log, and what can be done with it."""
    services = services_of(request)
    if kind not in ("launch", "build"):
        raise NotFound("There is no such job.")
    found = await (jobs.launch if kind == "launch" else jobs.build)(services.teller.db, job_id)
    build = found.row["build"] if kind == "launch" else found.row["id"]
    first, lines = await jobs.tail(services.teller.db, build) if build else (1, [])
    context = {
        "job": found, "build": build, "first": first, "lines": plain(lines), "acts": needs(found), **_words(),
    }
    return page(request, "ops_job.html", framed=False, inside=_render(request, "ops/job.html", **context), **context)


@router.get("/ops/{kind}/{job_id}/{act}", dependencies=admin)
async def ask(request: Request, kind: str, job_id: str, act: str) -> Response:
    """Ask whether it is meant."""
    found, subject = await _subject(request, kind, job_id, act)
    words = found.words(subject)
    fields = tuple(replace(field, value=request.query_params.get(field.name, field.value)[:400]) for field in words.fields)
    context: dict[str, Any] = {"act": found, "job": subject, "words": replace(words, fields=fields), "wrong": ""}
    return page(request, "ops_act.html", framed=False, inside=_render(request, "ops/act.html", **context), **context)


@router.post("/ops/{kind}/{job_id}/{act}", dependencies=admin)
async def do(request: Request, kind: str, job_id: str, act: str) -> Response:
    """Do it, and go back to where it can be seen."""
    found, subject = await _subject(request, kind, job_id, act)
    form = {key: str(value)[:500] for key, value in (await request.form()).items()}
    await found.do(request, subject, form)
    back = f"ops/{kind}/{job_id}" if subject is not None and found.stays else "ops"
    return RedirectResponse(f"{services_of(request).settings.front.base_url}{back}", 303)


async def _subject(request: Request, kind: str, job_id: str, act: str) -> tuple[Act, jobs.Job | None]:
    db = services_of(request).teller.db
    if (kind, job_id) == ("service", "all"):
        return act_of(act, None), None
    if kind not in ("launch", "build"):
        raise NotFound("There is no such job.")
    subject = await (jobs.launch if kind == "launch" else jobs.build)(db, job_id)
    return act_of(act, subject), subject


def pictures_of(request: Request) -> Pictures:
    """The pictures of this process, made when somebody first looks."""
    state = request.app.state
    if not hasattr(state, "pictures"):
        services: ApiServices = services_of(request)
        state.pictures = Pictures(services.teller.db, services.watch, state.health.answer)
    found: Pictures = state.pictures
    return found


async def _sections(request: Request, asked: Asked) -> dict[str, Markup]:
    picture, stands = await pictures_of(request).take()
    context: dict[str, Any] = {
        "picture": picture, "stands": stands, "troubles": judge(picture, stands), "asked": asked, "found": jobs.Found(), "wrong": "",
        "day_top": curves.largest(picture.day["good"]) if picture else 0, **_words(),
    }
    if picture is not None and not picture.stale:
        try:
            context["found"] = await jobs.search(
                services_of(request).teller.db, jobs.Search.of(asked.q, asked.kind), most=MOST, skip=asked.skip)
        except DockyardError as error:
            context["wrong"] = error.sentence
    return {name: _render(request, f"ops/{name}.html", **context) for name in SECTIONS}


def _render(request: Request, template: str, **context: Any) -> Markup:
    base = services_of(request).settings.front.base_url
    return Markup(templates.get_template(template).render(base=base, **context))  # noqa: S704 - escaped by the template


def _hash(html: str) -> str:
    return hashlib.blake2b(times.steady(html).encode(), digest_size=6).hexdigest()


def _words() -> dict[str, Any]:
    return {
        "when": times.when, "exact": times.exact, "short": times.short, "duration": duration, "size": size, "line": curves.line,
        "bars": curves.bars, "largest": curves.largest, "open": LAUNCH_OPEN, "silent": SILENT, "most": MOST,
    }


__all__ = ["ACTS", "Picture", "router"]
