"""Messages over a connection that dies without a word."""

import asyncio
import secrets
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

from pydantic import SecretStr

from services.queue import Redis
from services.settings import Settings
from tests.faults.proxy import Proxy


async def test_a_subscription_that_has_gone_silent_is_made_anew(settings: Settings) -> None:
    there = Path(urlsplit(settings.redis.url.get_secret_value()).path)
    channel = f"c-{secrets.token_hex(4)}"
    with TemporaryDirectory(prefix="door-") as directory:
        door = Path(directory) / "valkey.sock"
        async with Proxy(door, there) as proxy:
            direct = Redis(settings.redis)
            reader = Redis(settings.redis.model_copy(update={"url": SecretStr(f"unix://{door}?db=0")}))
            messages = reader.messages(channel)
            assert await anext(messages) is None
            await direct.pipeline(("PUBLISH", channel, "one"))
            assert await anext(messages) == b"one"
            proxy.half_open()
            async with asyncio.timeout(60):
                assert await anext(messages) is None  # subscribed again
            await direct.pipeline(("PUBLISH", channel, "two"))
            assert await anext(messages) == b"two"
            await messages.aclose()
            await reader.aclose()
            await direct.aclose()
