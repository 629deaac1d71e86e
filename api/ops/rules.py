"""Bans and the pause, as the ops page offers them; what they do is `services.policy`'s."""

from starlette.requests import Request

from api.ops.act import Act, Field, Form, Words
from api.services import services_of
from services.errors import BadRequest
from services.policy import NewRule, RuleKind, add_rule, pause, remove_rule, resume
from services.policy.networks import network_of
from services.usecases.jobs import Job

_BY = "ops page"
_HOURS = Field("hours", "Hours", "", "Empty: until it is taken back.")
_NOTICE = Field("message", "What users are told", "", "Empty: a sentence of ours.")


def _seconds(form: Form) -> float | None:
    text = form.get("hours", "").strip().replace(",", ".")
    if not text:
        return None
    try:
        hours = float(text)
    except ValueError:
        hours = 0.0
    if not 0 < hours <= 24 * 3660:
        raise BadRequest("Write a number of hours, such as 2 or 0.5, or nothing.")
    return hours * 3600


def _is_launch(job: Job | None) -> bool:
    return job is not None and job.kind == "launch"


def _is_service(job: Job | None) -> bool:
    return job is None


# -- a repository --------------------------------------------------------------------------------------------------------


def _repository_words(job: Job | None) -> Words:
    assert job is not None
    known = job.row.get("repository") or f"{job.row['provider']}/{job.row['repo']}"
    return Words(
        "Ban this repository?", "Nothing of it is launched from now on, by whatever link; what waits is refused, what runs goes on.",
        "Ban the repository", (Field("pattern", "Repository", known, "As github.com/org/name; a * stands for any text."), _NOTICE, _HOURS))


async def _ban_repository(request: Request, _: Job | None, form: Form) -> None:
    services = services_of(request)
    new = NewRule(RuleKind.BANNED, form.get("pattern", ""), form.get("message", "").strip(), None, _seconds(form))
    await add_rule(services.teller.db, services.redis, new, _BY)


# -- a network -----------------------------------------------------------------------------------------------------------


def _network_words(job: Job | None) -> Words:
    assert job is not None
    network = job.row.get("network") or network_of(job.row["client"])
    return Words(
        "Ban this network?", "Nobody of it can launch anything from now on; what runs goes on.", "Ban the network",
        (Field("pattern", "Network", network, "An address, or a network such as 203.0.113.0/24."), _NOTICE, _HOURS))


async def _ban_network(request: Request, _: Job | None, form: Form) -> None:
    services = services_of(request)
    new = NewRule(RuleKind.NETWORK, form.get("pattern", ""), form.get("message", "").strip(), None, _seconds(form))
    await add_rule(services.teller.db, services.redis, new, _BY)


# -- the service ---------------------------------------------------------------------------------------------------------


def _pause_words(_: Job | None) -> Words:
    return Words(
        "Accept no new launches?", "Whoever asks is told so, on the pages and in the streams. What waits and what runs goes on.",
        "Pause", (_NOTICE, _HOURS))


async def _pause(request: Request, _: Job | None, form: Form) -> None:
    services = services_of(request)
    await pause(services.teller.db, services.redis, form.get("message", "").strip(), _BY, _seconds(form))


def _resume_words(_: Job | None) -> Words:
    return Words("Accept launches again?", "The pause ends at once.", "Accept launches")


async def _resume(request: Request, _: Job | None, form: Form) -> None:
    services = services_of(request)
    await resume(services.teller.db, services.redis, _BY)


def _lift_words(_: Job | None) -> Words:
    return Words("Take this rule back?", "It holds no longer.", "Take it back", (Field("rule", "Rule"),))


async def _lift(request: Request, _: Job | None, form: Form) -> None:
    services = services_of(request)
    if not await remove_rule(services.teller.db, services.redis, form.get("rule", ""), _BY):
        raise BadRequest("There is no such rule any more.")


RULES: tuple[Act, ...] = (
    Act("ban-repository", _is_launch, _repository_words, _ban_repository, stays=True),
    Act("ban-network", _is_launch, _network_words, _ban_network, stays=True),
    Act("pause", _is_service, _pause_words, _pause),
    Act("resume", _is_service, _resume_words, _resume, grave=False),
    Act("lift", _is_service, _lift_words, _lift, grave=False),
)
