"""`python -m tests.services.runtimes.local.canary`: every way that a link may lead to a private address, under the production rule.

`test_canary` runs it in a network namespace of its own, where 10.203.0.0/24 is another machine's as far as anybody can tell (the
kernel takes its packets in without having the address), and with a hosts file of its own. It prints one JSON object: what each way
ended with, and how often the canary was connected to, under the production rule and, to see that the canary sings at all, without it.
"""

import asyncio
import json
import shutil
import socket
import tempfile
import threading
from pathlib import Path
from urllib.parse import quote

from services.errors import DockyardError
from services.providers import make_providers
from services.settings import load
from tests.gitserver import Executable, Fault, GitServer, Repo, Submodule
from tests.services.runtimes.local.ground import Ground, ground

ADDRESS, HTTP, GIT = "10.203.0.7", 8099, 9418
BOTH, PRIVATE = "both-answers.test", "private-answer.test"  # of the hosts file: a public and the private address; the private one
HOSTS = f"127.0.0.1 localhost\n198.51.100.1 {BOTH}\n{ADDRESS} {BOTH}\n{ADDRESS} {PRIVATE}\n"
WEB = f"http://{ADDRESS}:{HTTP}"
COMMIT = "1" * 40


class Canary:
    """Counts connections, and answers none."""

    def __init__(self) -> None:
        self.count = 0
        for port in (HTTP, GIT, 443, 80, 22):
            listener = socket.create_server((ADDRESS, port))
            threading.Thread(target=self._listen, args=(listener,), daemon=True).start()

    def _listen(self, listener: socket.socket) -> None:
        while True:
            found, _ = listener.accept()
            self.count += 1
            found.close()


def repositories(root: Path, server: GitServer) -> dict[str, tuple[str, str]]:
    """Repositories that lead there, each in a way of its own: name -> address and commit."""
    post = (
        "#!/bin/sh\npython - <<'END'\nimport os, socket, urllib.request\n"
        f"try: socket.create_connection(('{ADDRESS}', {HTTP}), 3)\nexcept OSError as e: print(e)\n"
        f"for url in ('{WEB}/x', 'http://{BOTH}:{HTTP}/x', 'http://{PRIVATE}:{HTTP}/x', '{server.url('away')}/x'):\n"
        "    try: urllib.request.urlopen(url, timeout=5)\n    except OSError as e: print(e)\nEND\n"
    )
    files: dict[str, dict[str, object]] = {
        "submodule": {".gitmodules": _module(f"{WEB}/x.git"), "sub": Submodule(COMMIT)},
        "submodule by git": {".gitmodules": _module(f"git://{ADDRESS}/x.git"), "sub": Submodule(COMMIT)},
        "submodule by ssh": {".gitmodules": _module(f"ssh://git@{ADDRESS}/x.git"), "sub": Submodule(COMMIT)},
        "submodule by two answers": {".gitmodules": _module(f"http://{BOTH}:{HTTP}/x.git"), "sub": Submodule(COMMIT)},
        "submodule by redirect": {".gitmodules": _module(server.url("away")), "sub": Submodule(COMMIT)},
        ".gitmodules alone": {".gitmodules": _module(f"{WEB}/x.git") + "\tupdate = !touch /tmp/ran\n"},
        ".gitmodules with a branch": {".gitmodules": _module(f"{WEB}/x.git") + "\tbranch = main\n", "sub": Submodule(COMMIT)},
        "large files": {".gitattributes": "*.bin filter=lfs\n", ".lfsconfig": f"[lfs]\n\turl = {WEB}/lfs\n", "a.bin": (
            f"version https://git-lfs.github.com/spec/v1\noid sha256:{'a' * 64}\nsize 12\n")},
        "index URL": {"requirements.txt": f"--index-url {WEB}/simple\nsomething\n"},
        "extra index URL": {"requirements.txt": f"--extra-index-url {WEB}/simple\nsomething\n"},
        "index by two answers": {"requirements.txt": f"--index-url http://{BOTH}:{HTTP}/simple\nsomething\n"},
        "index by redirect": {"requirements.txt": f"--index-url {server.url('away')}/simple\nsomething\n"},
        "links": {"requirements.txt": f"--find-links {WEB}/links\nsomething\n"},
        "requirement URL": {"requirements.txt": f"something @ {WEB}/something-1.0-py3-none-any.whl\n"},
        "requirement by git": {"requirements.txt": f"something @ git+{WEB}/something.git\n"},
        "requirement by two answers": {"requirements.txt": f"something @ http://{BOTH}:{HTTP}/something-1.0-py3-none-any.whl\n"},
        "requirement by redirect": {"requirements.txt": f"something @ {server.url('away')}/something-1.0-py3-none-any.whl\n"},
        "requirements elsewhere": {"requirements.txt": f"-r {WEB}/requirements.txt\n"},
        "constraints elsewhere": {"requirements.txt": f"-c {WEB}/constraints.txt\nsomething\n"},
        "channel": {"environment.yml": f"channels: [{WEB}/channel]\ndependencies: [something]\n"},
        "Pipfile": {"Pipfile": f'[[source]]\nname = "x"\nurl = "{WEB}/simple"\nverify_ssl = false\n[packages]\nsomething = "*"\n'},
        "project": {"pyproject.toml": '[project]\nname = "p"\nversion = "1"\ndependencies = ["something"]\n'
                    f'[[tool.uv.index]]\nurl = "{WEB}/simple"\ndefault = true\n'},
        "postBuild": {"postBuild": Executable(post)},
    }
    found = {}
    for number, (name, content) in enumerate(files.items()):
        repo = Repo.create(root, f"r{number}.git")
        found[name] = (server.url(repo.path.name), repo.commit(content))  # type: ignore[arg-type]
    found |= {"link": (f"{WEB}/x.git", COMMIT), "link by git": (f"git://{ADDRESS}/x.git", COMMIT),
              "link by two answers": (f"http://{BOTH}:{HTTP}/x.git", COMMIT), "link by redirect": (server.url("away"), COMMIT)}
    return found


def _module(url: str) -> str:
    return f'[submodule "sub"]\n\tpath = sub\n\turl = {url}\n'


async def built(home: Ground, ways: dict[str, tuple[str, str]]) -> dict[str, str]:
    """Build them all, a few at a time; how each ended."""
    at_once = asyncio.Semaphore(4)

    async def one(name: str, url: str, commit: str) -> tuple[str, str]:
        async with at_once:
            exit_ = (await home.build(home.job(url, commit, ref="main"))).exit
            return name, "built" if exit_.ok else exit_.reason

    return dict(await asyncio.gather(*[one(name, *way) for name, way in ways.items()]))


async def resolved(server: GitServer, **values: str) -> dict[str, str]:
    """Ask the providers, as the worker does to find a commit; what each said."""
    everything = load({"DOCKYARD_PROVIDERS_ENABLED": "git,ckan,dataverse,hydroshare,gl", "DOCKYARD_PROVIDERS_TIMEOUT": "5", **values})
    providers = make_providers(everything.providers, everything.egress)
    asked = {
        f"{prefix}: {url}": (prefix, spec.format(quote(url, safe="")))
        for url in (f"{WEB}/a/b", f"http://{BOTH}:{HTTP}/a/b", f"http://{PRIVATE}:{HTTP}/a/b", f"git://{ADDRESS}/a", server.url("away"))
        for prefix, spec in (("git", "{}/HEAD"), ("ckan", "{}"), ("hydroshare", "{}"), ("dataverse", "{}"))
    }
    said = {}
    for name, (prefix, spec) in asked.items():
        try:
            said[name] = str(await providers[prefix].resolve(providers[prefix].parse(spec)))
        except DockyardError as error:
            said[name] = error.sentence
    for provider in providers.values():
        await provider.aclose()
    return said


async def main() -> None:
    """Everything; prints the object."""
    canary, root = Canary(), Path(tempfile.mkdtemp())
    try:
        with GitServer(root) as server:
            server.faults["away"] = Fault(status=302, location=WEB)
            ways = repositories(root, server)
            values = {"DOCKYARD_EGRESS_PRIVATE": "false", "DOCKYARD_EGRESS_ALLOWED": f"127.0.0.1:{server.port}"}
            said = await resolved(server, **values)
            with ground(**values) as home:
                said |= await built(home, ways)
            closed, canary.count = canary.count, 0
            some = {name: ways[name] for name in ("link", "submodule", "requirement URL")}
            with ground(DOCKYARD_EGRESS_PRIVATE="true") as home:
                await built(home, some)
    finally:
        shutil.rmtree(root, ignore_errors=True)
    print(json.dumps({"ways": said, "closed": closed, "open": canary.count}))


if __name__ == "__main__":
    asyncio.run(main())
