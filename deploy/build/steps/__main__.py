"""The steps, one after the other. The last line says how it ended; the exit status is repo2docker's."""

import json
import os
import signal
import sys
import time
import traceback
from importlib.metadata import version
from pathlib import Path
from types import FrameType

from steps import eligible, export, fetch, layer, repository, say, usage, wall
from steps.fetch import CHECKOUT
from steps.job import OUT, PLACE, WORK, Job, read, trust

STRIPPED = WORK / "src" / "environment"


OUR_FAULT = 75  # exit status where the steps themselves fail


def stop(number: int, _frame: FrameType | None) -> None:
    """As the first process of a container, we get no signal that we have not asked for."""
    sys.exit(128 + number)


def main() -> int:
    """Run the job; the exit status."""
    os.umask(0o022)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM):
        signal.signal(number, stop)
    job = read()
    signal.setitimer(signal.ITIMER_REAL, job.deadline + 30)  # the worker stops sooner; this is for a container that nobody looks after
    trust()
    for directory in (CHECKOUT.parent, OUT, WORK / "tmp"):
        directory.mkdir(exist_ok=True)
    try:
        say.fact(phase="fetching")
        fetch.fetch(job)
        when = fetch.arrange(job)
    except fetch.Failed as error:
        say.line(str(error), "failed")
        return 1
    say.fact(phase="building")
    if job.environment_image:
        verdict = judged(job)
        if not verdict.against:
            return layered(job, verdict, when)
        say.line(verdict.why, "building")
    return whole(job)


def judged(job: Job) -> eligible.Verdict:
    """Whether the image may be put together, and from which environment."""
    recipe = {"repo2docker": version("jupyter-repo2docker"), "uv": job.uv, "jupyter": job.jupyter, "base": job.base_image,
              "pack": job.default_buildpack, "arguments": job.arguments, "machine": os.uname().machine}
    return eligible.judge(CHECKOUT, recipe, appendix=job.appendix, arguments=tuple(job.arguments))


def whole(job: Job) -> int:
    """The commit's image, all of it by repo2docker."""
    status = repository.build(job, CHECKOUT, job.image, job.commit)
    if status == 0 and job.mode == "contained":
        export.export(job.image, job.push)
    return status


def layered(job: Job, verdict: eligible.Verdict, when: int) -> int:
    """The environment's image, unless there is one, and the layer of content."""
    say.fact(plan=verdict.key, why=verdict.why)
    answer = wait(PLACE / "proceed")
    if answer != "reuse":
        repository.strip(CHECKOUT, STRIPPED, verdict.inputs, verdict.directory)
        status = repository.build(job, STRIPPED, f"{job.environment_image}:{verdict.key}", verdict.key)
        if status:
            return status
        if job.mode == "contained":
            export.export(f"{job.environment_image}:{verdict.key}", push=True)
    made = layer.make(CHECKOUT, OUT / "layer.tar.gz", when, f"{verdict.directory}/start".removeprefix("/"))
    say.line(f"The content is one layer of {made.size:,} bytes ({made.digest[7:19]}).", "building")
    say.fact(layer=made.digest, environment=verdict.key)
    return 0


def wait(path: Path) -> str:
    """The worker's answer to a plan."""
    while not path.exists():
        time.sleep(0.02)
    return path.read_text().strip()


if __name__ == "__main__":
    match sys.argv[1:]:
        case []:
            try:
                sys.exit(main())
            except Exception:  # noqa: BLE001 - the edge: our own fault, not the repository's
                traceback.print_exc(file=sys.stdout)
                sys.exit(OUR_FAULT)
        case ["usage", place]:
            usage.tell(Path(place))
        case ["bases", *archives]:
            export.bases(archives)
        case ["wall", told]:
            sys.exit(wall.write(json.loads(told)))
        case _:
            sys.exit(2)
