"""The steps in a pod of Kubernetes: `python -m steps.pod`.

Nobody can put files into a pod or take any out, so here the job comes in a variable (`DOCKYARD_JOB`, without secrets),
secrets come as files (what git needs comes to `python -m steps.pod fetch` alone, a container that has ended before the
repository is built), the image goes to the registry from here, and how it ended stands in the termination message of
the container: `{"reason": …, "hint": …}`, from which the worker makes its sentence. Where the image can be put together from its
environment's and a layer of content, both are in the registry in the end, and the message names them for the worker.
"""

import base64
import json
import os
import signal
import subprocess
import sys
import time
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path

from steps import eligible, fetch, handover, layer, repository, say
from steps.__main__ import STRIPPED, judged, stop
from steps.fetch import CHECKOUT
from steps.job import OUT, PLACE, WORK, Job, trust

PUSH = Path("/run/secrets/push/config.json")  # a config.json of Docker, in the pod's secret
MESSAGE = Path("/dev/termination-log")
_CA = Path("/etc/dockyard/ca/ca.crt")
_FETCHED, _FETCHED_LOG = PLACE / "fetched.json", PLACE / "fetched.log"
_PUSHES = (0, 2, 10)  # seconds before each attempt; a registry may be away for a moment
# Nodes begin a new file after 10 MiB of log (containerd's default), and then line 1 is gone for whoever comes later.
_LOG = 8 << 20


@dataclass(frozen=True, slots=True)
class Order:
    """The job, and where its images go: names as the registry is reached from here."""

    job: Job
    destination: str
    plain: bool  # without TLS
    environments: str = ""  # without a tag
    environment_days: float = 7.0  # that an environment may be used


def main() -> int:
    """Run the job below this process and pass its log on, up to a limit; the exit status."""
    inner = subprocess.Popen([sys.executable, "-m", "steps.pod", "inner"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: inner.terminate())
    assert inner.stdout is not None
    size, told = 0, False
    for line in iter(lambda: inner.stdout.readline(1 << 16), b""):  # type: ignore[union-attr]
        size += len(line)
        if size <= _LOG or (told and b'"phase": "failed"' in line):
            sys.stdout.buffer.write(line)
            sys.stdout.buffer.flush()
        elif not told:
            told = True
            say.line("The log has reached its limit; the rest of it is not shown.", "building")
    return inner.wait()


def run() -> int:
    """Do the job; the exit status."""
    os.umask(0o022)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    order = _order()
    job = order.job
    if PUSH.exists():
        os.environ["DOCKER_CONFIG"] = str(PUSH.parent)
        os.environ["REGISTRY_AUTH_FILE"] = str(PUSH)
    trust()
    try:
        if _FETCHED.exists():
            sys.stdout.write(_FETCHED_LOG.read_text(errors="replace"))
            if failed := json.loads(_FETCHED.read_text())["failed"]:
                raise fetch.Failed(failed)
        else:
            say.line(f"Fetching {job.repo_url}", "fetching")
            fetch.fetch(job)
        when = fetch.arrange(job)
    except fetch.Failed as error:
        say.line(str(error), "failed")
        return _end(1, str(error))
    if job.environment_image:
        verdict = judged(job)
        say.line(verdict.why, "building")
        if not verdict.against:
            return _layered(order, verdict, when)
    return _built(job, CHECKOUT, job.image, job.commit, order.destination, plain=order.plain)


def _built(job: Job, checkout: Path, image: str, ref: str, destination: str, *, plain: bool) -> int:
    """Build an image and push it; the exit status."""
    say.line(f"Building {image}", "building")
    status = repository.build(job, checkout, image, ref)
    if status:
        if _memory():
            return _end(status, "A step of the build was ended because it used more memory than the build may use.",
                        "Install less, or ask the administrator for a higher limit.")
        return status
    if job.mode == "contained" and not _push(image, destination, plain):
        return _unpushed()
    return 0


def _layered(order: Order, verdict: eligible.Verdict, when: int) -> int:
    """The environment's image, unless there is one, and the layer of content; the exit status."""
    job, plain, environment = order.job, order.plain, f"{order.environments}:{verdict.key}"
    found = None if job.no_cache else handover.age(environment, plain)
    if found is None or found > order.environment_days * 86400:
        repository.strip(CHECKOUT, STRIPPED, verdict.inputs, verdict.directory)
        status = _built(job, STRIPPED, f"{job.environment_image}:{verdict.key}", verdict.key, environment, plain=plain)
        if status:
            return status
    else:
        say.line("Its environment is there already.", "building")
    made = layer.make(CHECKOUT, OUT / "layer.tar.gz", when, f"{verdict.directory}/start".removeprefix("/"))
    say.line(f"The content is one layer of {made.size:,} bytes ({made.digest[7:19]}).", "pushing")
    if not handover.hand_over(made, OUT / "layer.tar.gz", f"{order.destination.rpartition(':')[0]}:layer-{made.digest[7:]}", plain):
        return _unpushed()
    MESSAGE.write_text(json.dumps({"facts": {"environment": verdict.key, "layer": json.dumps(asdict(made))}}))
    return 0


def _order() -> Order:
    """What is to be done; the places are ready."""
    text = os.environ.pop("DOCKYARD_JOB")
    if text.startswith("zlib:"):  # a record of many files
        text = zlib.decompress(base64.b64decode(text[5:])).decode()
    told = json.loads(text)
    places = {key: told.pop(key) for key in ("destination", "plain", "environments", "environment_days") if key in told}
    for place in (PLACE, CHECKOUT.parent, OUT, WORK / "tmp"):
        place.mkdir(parents=True, exist_ok=True)
    if _CA.exists():
        PLACE.joinpath("ca.crt").write_bytes(_CA.read_bytes())
    return Order(Job(**told), **places)


def fetched() -> int:
    """Fetch for the container that comes after this one, and leave it the log and how it ended."""
    os.umask(0o022)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    job = _order().job
    trust()
    with _FETCHED_LOG.open("w") as log:
        os.dup2(log.fileno(), 1)
        failed = ""
        try:
            say.line(f"Fetching {job.repo_url}", "fetching")
            fetch.fetch(job)
        except fetch.Failed as error:
            failed = str(error)
    _FETCHED.write_text(json.dumps({"failed": failed}))
    return 0


def _push(image: str, destination: str, plain: bool) -> bool:
    say.line(f"Pushing {destination}", "pushing")
    words = ["buildah", "push", "--quiet", *(["--tls-verify=false"] if plain else []), "--", image, f"docker://{destination}"]
    for pause in _PUSHES:
        time.sleep(pause)
        done = subprocess.run(words, capture_output=True, text=True, errors="replace", check=False)
        if done.returncode == 0:
            say.line("Pushed.", "pushing")
            return True
        for text in (done.stderr or done.stdout).strip().splitlines()[-5:]:
            say.line(text, "pushing")
    return False


def _memory() -> bool:
    """Whether the kernel has ended a process of this container for its memory."""
    for name, word in (("memory.events", "oom_kill"), ("memory/memory.oom_control", "oom_kill")):
        try:
            lines = Path("/sys/fs/cgroup", name).read_text().splitlines()
        except OSError:
            continue
        if any(line.split()[0] == word and int(line.split()[1]) > 0 for line in lines if len(line.split()) == 2):
            return True
    return False


def _unpushed() -> int:
    return _end(1, "The image could not be pushed to the registry.", "The last lines of the log say why.", retryable=True)


def _end(status: int, reason: str, hint: str = "", retryable: bool = False) -> int:
    MESSAGE.write_text(json.dumps({"reason": reason, "hint": hint, "retryable": retryable}))
    return status


if __name__ == "__main__":
    sys.exit({"inner": run, "fetch": fetched}.get("".join(sys.argv[1:]), main)())
