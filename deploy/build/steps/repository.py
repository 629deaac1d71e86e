"""Running repo2docker, with BinderHub's own command line."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from steps.job import Job, environment


def build(job: Job, checkout: Path, image: str, ref: str) -> int:
    """Build `image` from what is in `checkout`; the exit status. What repo2docker says goes through unchanged."""
    arguments = [
        sys.executable, "-m", "repo2docker", "--config", str(Path(__file__).with_name("repo2docker_config.py")),
        f"--ref={ref}", f"--image={image}", "--no-clean", "--no-run", "--json-logs", "--user-name=jovyan", "--user-id=1000",
    ]
    if job.appendix:
        arguments += ["--appendix", job.appendix]
    if job.mode == "contained":
        arguments.append("--engine=buildah")
    elif job.push:
        arguments.append("--push")
    if job.mode == "engine" and job.no_cache:
        arguments.append("--DockerEngine.extra_buildx_build_args=--no-cache")
    if job.base_image:
        arguments.append(f"--Repo2Docker.base_image={job.base_image}")
    environ = environment(job) | {"DOCKYARD_CHECKOUT": str(checkout)}
    return subprocess.run([*arguments, *job.arguments, "--", job.repo_url], env=environ, check=False, stdin=subprocess.DEVNULL,
                          stderr=subprocess.STDOUT, cwd="/").returncode


def strip(checkout: Path, into: Path, inputs: tuple[str, ...], directory: str) -> None:
    """A copy of a checkout that has the inputs of its environment and nothing else."""
    shutil.rmtree(into, ignore_errors=True)
    (into / directory).mkdir(parents=True)
    for name in inputs:
        shutil.copyfile(checkout / name, into / name)
        os.chmod(into / name, (checkout / name).stat().st_mode & 0o777)
