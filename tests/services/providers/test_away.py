"""A git server that is away or fails: the launches that want it are told so at once, and it is not stormed."""

import asyncio

import pytest

from services.errors import Unreachable
from tests.gitrepo import Repo
from tests.gitserver import Fault, GitServer
from tests.services.providers.conftest import Make
from tests.services.providers.test_git import quoted


async def test_a_server_that_fails_is_asked_once_in_a_while_and_found_again(make: Make, git: GitServer, repo: Repo) -> None:
    provider = make("git", private=True)
    spec = provider.parse(f"{quoted(git.url('o/r'))}/HEAD")
    git.faults["o/r"] = Fault(status=503)
    for _ in range(30):
        with pytest.raises(Unreachable) as caught:
            await provider.resolve(spec)
        assert caught.value.retryable
    assert len(git.hits("o/r")) <= 8
    assert "It is asked again in" in caught.value.sentence
    del git.faults["o/r"]
    async with asyncio.timeout(30):
        while True:
            try:
                assert (await provider.resolve(spec)).ref
                break
            except Unreachable:
                await asyncio.sleep(0.1)
