"""What an operator can do with a job from the ops page: end it, build it again; each with the sentence that is asked first.

What concerns more than one job, bans and the pause, stands in `api.ops.rules`. """

from starlette.requests import Request

from api.accept import Asked, accept
from api.ops.act import Act, Form, Words
from api.ops.rules import RULES
from api.services import services_of
from services.errors import BadRequest, NotFound
from services.states import LAUNCH_OPEN, LaunchState, StopReason
from services.usecases.change import end_build, end_launch
from services.usecases.jobs import Job


def _repository(job: Job) -> str:
    return str(job.row["repo"] if job.kind == "launch" else job.row["repo_url"])


# -- ending --------------------------------------------------------------------------------------------------------------


def _can_end(job: Job | None) -> bool:
    if job is None:
        return False
    return job.row["ended_at"] is None and job.row["state"] != LaunchState.STOPPING


def _end_words(job: Job | None) -> Words:
    assert job is not None
    name = _repository(job)
    if job.kind == "build":
        return Words("Cancel this build?", f"The build of {name} ends for everybody who waits for it.", "Cancel the build")
    if job.row["state"] in LAUNCH_OPEN:
        text = f"The launch of {name} ends. Its build goes on if somebody else waits for it."
        return Words("Cancel this launch?", text, "Cancel the launch")
    text = f"The server of {name} ends at once. What its user has not saved elsewhere is lost."
    return Words("Stop this server?", text, "Stop the server")


async def _end(request: Request, job: Job | None, _: Form) -> None:
    assert job is not None
    services = services_of(request)
    if job.kind == "build":
        await end_build(services.teller, job.row["id"])
    else:
        await end_launch(services.teller, job.row["id"], grace=services.settings.builds.grace, reason=StopReason.USER)


# -- rebuilding ----------------------------------------------------------------------------------------------------------


def _can_rebuild(job: Job | None) -> bool:
    return job is not None and job.kind == "launch"


def _rebuild_words(job: Job | None) -> Words:
    assert job is not None
    return Words(
        "Build this again?", f"{_repository(job)} is built once more without anything kept from before. Servers that run are left alone; "
        "the next launches get the new image.", "Build again")


async def _rebuild(request: Request, job: Job | None, form: Form) -> None:
    assert job is not None
    services = services_of(request)
    provider = services.providers.get(job.row["provider"])
    if provider is None:
        raise BadRequest(f"The provider {job.row['provider']} is not enabled here any more.")
    spec = provider.parse(job.row["spec"])
    made = await accept(request, services, spec, Asked(build_only=True, rebuild=True, counted=False))
    services.fanout.forget(made[1])


ACTS: tuple[Act, ...] = (
    Act("end", _can_end, _end_words, _end, stays=True),
    Act("rebuild", _can_rebuild, _rebuild_words, _rebuild, grave=False),
    *RULES,
)


def act_of(name: str, job: Job | None) -> Act:
    """The act of this name, if this job allows it. Raises `NotFound`, and `BadRequest` where it is too late."""
    for act in ACTS:
        if act.name == name:
            if act.can(job):
                return act
            raise BadRequest("This cannot be done with it any more.")
    raise NotFound("There is no such action.")


def needs(job: Job) -> list[tuple[str, str, bool]]:
    """The acts that a job allows: name, words of the button, whether it ends something."""
    return [(act.name, act.words(job).button, act.grave) for act in ACTS if act.can(job)]
