"""The doorbell on a real Valkey, with Celery's real consumer."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import pytest

from services.queue import BUILDS, Bell, Consumer, Ear, Listener, Redis, make_app, sender
from services.queue import bell as of_bell
from services.queue.app import TASKS, broker_url
from services.settings import RedisSettings, Settings


@pytest.fixture
async def redis(settings: Settings) -> AsyncIterator[Redis]:
    found = Redis(settings.redis)
    yield found
    await found.aclose()


class Sent:
    """Instead of Celery: which queues a message was sent to."""

    def __init__(self) -> None:
        self.queues: list[str] = []

    def __call__(self, queue: str) -> None:
        self.queues.append(queue)


async def test_a_sleeper_gets_a_message_and_who_is_awake_a_hint(redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = Sent()
    bell = Bell(redis, sent)
    listener = Listener(redis, BUILDS)

    def stay_awake() -> None:  # for the whole test
        listener._silent_at = time.monotonic() + 600
        listener._wakened.set()

    monkeypatch.setattr(of_bell, "_SIGN", 600)
    monkeypatch.setattr(listener, "stay_awake", stay_awake)
    ear = listener.ear()
    listening = asyncio.create_task(listener.run())
    bell.ring(BUILDS)
    await bell.aclose()
    assert sent.queues == [BUILDS]
    await until_awake(redis, ear)
    ear.rung.clear()
    bell.ring(BUILDS)
    async with asyncio.timeout(60):
        await ear.rung.wait()
    await bell.aclose()
    assert sent.queues == [BUILDS]
    await ended(listening)


async def ended(task: "asyncio.Task[None]") -> None:
    """Cancel a task until it has ended: redis-py may take a cancel that comes together with an answer for a time-out."""
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=0.1)


async def until_awake(redis: Redis, ear: Ear) -> None:
    """Let there be work until the sign is up; one piece of it keeps a process awake for a second only."""
    while not await awake(redis):
        ear.busy()
        await asyncio.sleep(0.01)


async def awake(redis: Redis) -> bool:
    answer = await redis.pipeline(("EXISTS", redis.key("awake", BUILDS)))
    return bool(answer and answer[0])


async def test_who_has_nothing_to_do_falls_asleep_again(redis: Redis) -> None:
    listener = Listener(redis, BUILDS)
    listening = asyncio.create_task(listener.run())
    await until_awake(redis, listener.ear())
    async with asyncio.timeout(60):
        while await awake(redis):
            await asyncio.sleep(0.05)
    await ended(listening)


async def test_who_has_left_is_not_taken_for_awake(redis: Redis) -> None:
    listener = Listener(redis, BUILDS)
    listening = asyncio.create_task(listener.run())
    await until_awake(redis, listener.ear())
    await ended(listening)
    await listener.leave()
    sent = Sent()
    bell = Bell(redis, sent)
    bell.ring(BUILDS)
    await bell.aclose()
    assert sent.queues == [BUILDS]


async def test_celery_wakes_the_loop_and_its_message_is_gone(redis: Redis, settings: Settings) -> None:
    listener = Listener(redis, BUILDS)
    ear = listener.ear()
    app = make_app(settings.redis)
    consumer = Consumer(app, BUILDS, lambda *_: listener.rung())
    consumer.start()
    bell = Bell(redis, sender(app))
    async with asyncio.timeout(60):
        while not ear.rung.is_set():  # one ring may be lost, by contract; the next is not
            bell.ring(BUILDS)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(ear.rung.wait(), 5)
    await bell.aclose()
    consumer.stop()


def test_applications_of_one_process_have_tasks_of_their_own(settings: Settings) -> None:
    rung: list[str] = []
    apps = [make_app(settings.redis) for _ in range(2)]
    for name, app in zip(("first", "second"), apps, strict=True):
        Consumer(app, BUILDS, lambda *_, name=name: rung.append(name))
    for app in reversed(apps):
        app.finalize()
        app.tasks[TASKS[BUILDS]].run()
    assert rung == ["second", "first"]


async def test_ringing_never_blocks_and_never_fails_without_a_broker() -> None:
    settings = RedisSettings(url="unix:///nobody/is/here.sock?db=0")
    redis = Redis(settings)
    bell = Bell(redis, sender(make_app(settings)))
    for _ in range(1000):  # would each of them wait for the broker, they would take longer than a test may
        bell.ring(BUILDS)
    await bell.aclose()
    assert not redis.ok
    await redis.aclose()


@pytest.mark.parametrize(("url", "broker"), [
    ("redis://:pw@cache:6379/3", "redis://:pw@cache:6379/3"),
    ("unix:///run/v.sock?db=2", "redis+socket:///run/v.sock?virtual_host=2"),
    ("unix:///run/v.sock", "redis+socket:///run/v.sock?virtual_host=0"),
])
def test_the_brokers_address_is_kombus(url: str, broker: str) -> None:
    assert broker_url(RedisSettings(url=url)) == broker
