"""A git server that is away or fails: the launches that want it are told so at once, and it is not stormed."""

import asyncio
import time

import pytest

from services.errors import Unreachable
from services.providers.git import Git
from tests.gitrepo import Repo
from tests.gitserver import Fault, GitServer
from tests.services.providers.conftest import Make
from tests.services.providers.test_git import quoted


async def test_a_server_that_fails_is_asked_once_in_a_while_and_found_again(make: Make, git: GitServer, repo: Repo) -> None:
    provider = make("git", private=True)
    spec = provider.parse(f"{quoted(git.url('o/r'))}/HEAD")
    git.faults["o/r"] = Fault(status=503)
    now = time.monotonic()
    assert isinstance(provider, Git)
    breaker = provider._remote._breakers.of("127.0.0.1")
    breaker._now = lambda: now  # all of them in one moment
    for _ in range(30):
        with pytest.raises(Unreachable) as caught:
            await provider.resolve(spec)
        assert caught.value.retryable
    assert len(git.hits("o/r")) <= 8
    assert "It is asked again in" in caught.value.sentence
    del git.faults["o/r"]
    breaker._now = time.monotonic
    async with asyncio.timeout(120):
        while True:
            try:
                assert (await provider.resolve(spec)).ref
                break
            except Unreachable:
                await asyncio.sleep(0.1)
