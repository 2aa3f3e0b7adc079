"""Redis keeps the rules of every backend, on a real server."""

from __future__ import annotations

import asyncio

import pytest

from astromesh_core.conversations import START
from astromesh_core.errors import Unavailable
from astromesh_core.resources.connections import redis_address
from astromesh_core.resources.stores import Connection
from astromesh_memory.backends.redis import RedisConversations
from astromesh_testing.contracts.conversations import DESK, ConversationsContract, Opener, apply, questions, remembered
from astromesh_testing.redis import RedisServer


class TestRedis(ConversationsContract):
    @pytest.fixture
    def opener(self, redis_url: str) -> Opener:
        address = redis_address(Connection(url="${REDIS_URL}"), {"REDIS_URL": redis_url})
        return lambda: RedisConversations.open(address, "mesh")


async def test_meshes_that_share_a_server_do_not_see_each_other(redis_url: str) -> None:
    address = redis_address(Connection(url="${REDIS_URL}"), {"REDIS_URL": redis_url})
    one, two = await RedisConversations.open(address, "one"), await RedisConversations.open(address, "two")
    await one.follow(DESK, START)
    await apply(one, remembered(1))
    assert await two.followed() == {}
    assert await questions(two) == []
    await one.close()
    await two.close()


async def test_a_server_that_is_gone_is_unavailable_and_its_password_is_nowhere(own_redis: RedisServer) -> None:
    address = redis_address(Connection(url="${REDIS_URL}"), {"REDIS_URL": own_redis.url})
    store = await RedisConversations.open(address, "mesh")
    await store.follow(DESK, START)
    await apply(store, remembered(1))
    own_redis.stop()
    with pytest.raises(Unavailable, match="redis at redis://127") as raised:
        await questions(store)
    assert own_redis.password not in str(raised.value)
    with pytest.raises(Unavailable):
        await RedisConversations.open(address, "mesh")
    own_redis.start()
    assert await questions(store) == ["q1"]
    await store.close()


async def test_a_server_that_hangs_is_given_up_after_some_seconds(
    own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("astromesh_memory.backends.redis.ANSWER_SECONDS", 0.5)
    address = redis_address(Connection(url="${REDIS_URL}"), {"REDIS_URL": own_redis.url})
    store = await RedisConversations.open(address, "mesh")
    own_redis.pause()
    async with asyncio.timeout(3):
        with pytest.raises(Unavailable, match="TimeoutError"):
            await questions(store)
    own_redis.resume()
    assert await questions(store) == []
    await store.close()


async def test_a_wrong_password_is_said_and_not_shown(own_redis: RedisServer) -> None:
    wrong = own_redis.url.replace(own_redis.password, "my-wrong-one")
    address = redis_address(Connection(url="${REDIS_URL}"), {"REDIS_URL": wrong})
    with pytest.raises(Unavailable, match="AuthenticationError") as raised:
        await RedisConversations.open(address, "mesh")
    assert "my-wrong-one" not in str(raised.value)
