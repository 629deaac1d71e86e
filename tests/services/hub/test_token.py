"""Whether a real hub knows us: it refuses a wrong token, and a right one too while it cannot read its database."""

import sqlite3
from contextlib import closing

import pytest
from pydantic import SecretStr

from services.errors import Misconfigured, Unreachable
from services.hub import Hub
from tests.services.hub.hubserver import HubServer


async def test_a_wrong_token_is_named_and_fails_no_launch(shared_server: HubServer) -> None:
    async with Hub(shared_server.settings.model_copy(update={"token": SecretStr("wrong")})) as hub:
        with pytest.raises(Misconfigured, match=r"hub\.token"):
            await hub.accepts()
        with pytest.raises(Unreachable, match="does not accept"):
            await hub.user("nobody")


async def test_a_hub_that_cannot_read_its_database_is_waited_for(own_server: HubServer) -> None:
    path = own_server.directory / "hub" / "jupyterhub.sqlite"
    async with Hub(own_server.settings) as hub:
        await hub.accepts()
        with closing(sqlite3.connect(path, isolation_level=None)) as database:
            database.execute("ALTER TABLE api_tokens RENAME TO away")
            with pytest.raises(Unreachable, match="does not accept"):
                await hub.create_user("somebody")
            database.execute("ALTER TABLE away RENAME TO api_tokens")
        await hub.accepts()
        assert await hub.create_user("somebody")
