"""The lean client: what it promises beyond nats-py, and that it still speaks the same protocol."""

import asyncio

import pytest
from nats.aio.msg import Msg

from astromesh_core.bus.connection import Bus
from astromesh_core.bus.subjects import delta_subject
from astromesh_core.errors import Denied, InvalidInput, TimedOut, Unavailable
from astromesh_testing.commits import new_run
from astromesh_testing.nats import NatsServer

RUN = new_run()
SUBJECT = delta_subject("default", RUN.partition, RUN.id)


async def test_messages_and_headers_arrive_as_sent_and_in_order(bus: Bus) -> None:
    heard: asyncio.Queue[Msg] = asyncio.Queue()
    listening = await bus.nc.listen(SUBJECT, heard.put_nowait)
    for number in range(50):
        headers = f"NATS/1.0\r\nNumber: {number}\r\nText:a: b\r\nEmpty:\r\n\r\n".encode()
        assert bus.nc.send(SUBJECT, b"x" * number, headers=headers)
        assert bus.nc.send(SUBJECT, b"plain")
    for number in range(50):
        message, plain = await heard.get(), await heard.get()
        assert message.headers == {"Number": str(number), "Text": "a: b", "Empty": ""}
        assert (message.data, plain.data, plain.headers) == (b"x" * number, b"plain", None)
    listening.close()
    listening.close()
    bus.nc.send(SUBJECT, b"unheard")
    await bus.nc.flush()
    assert heard.empty()


async def test_a_callback_that_raises_ends_nothing(bus: Bus) -> None:
    reported: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: reported.append(context["exception"]))
    second = asyncio.Event()

    def on_message(message: Msg) -> None:
        if message.data == b"bad":
            raise ValueError("on purpose")
        second.set()

    await bus.nc.listen(SUBJECT, on_message)
    bus.nc.send(SUBJECT, b"bad")
    bus.nc.send(SUBJECT, b"good")
    async with asyncio.timeout(2):
        await second.wait()
    assert [str(error) for error in reported] == ["on purpose"]


async def test_a_request_ends_with_its_time_limit(bus: Bus, nats: NatsServer) -> None:
    nats.pause()
    with pytest.raises(TimedOut, match=r"0\.1 s"):
        await bus.nc.ask("$JS.API.INFO", seconds=0.1)
    nats.resume()
    assert (await bus.nc.ask("$JS.API.INFO")).data


async def test_a_request_that_nobody_answers_is_unavailable(bus: Bus) -> None:
    with pytest.raises(Unavailable, match="nobody"):
        await bus.nc.ask(SUBJECT)


async def test_a_refused_subject_is_denied_at_once(bus: Bus) -> None:
    with pytest.raises(Denied):
        await bus.nc.ask("elsewhere", seconds=60)
    with pytest.raises(InvalidInput):
        await bus.nc.ask(SUBJECT, bytes(9 << 20))


async def test_requests_under_way_end_when_the_connection_breaks(bus: Bus, nats: NatsServer) -> None:
    nats.pause()
    asking = asyncio.create_task(bus.nc.ask("$JS.API.INFO", seconds=60))
    await asyncio.sleep(0.05)
    await nats.kill()
    with pytest.raises(Unavailable):
        await asking
    assert not bus.nc.send(SUBJECT, b"dropped")
    with pytest.raises(Unavailable):
        await bus.nc.ask("$JS.API.INFO")
    heard = asyncio.Event()
    forget = bus.nc.on_reconnect(heard.set)
    await nats.restart()
    async with asyncio.timeout(5):
        await heard.wait()
    forget()
    assert (await bus.nc.ask("$JS.API.INFO")).data


async def test_many_requests_at_once_get_each_their_own_answer(bus: Bus) -> None:
    values = [await bus.values.put(str(number).encode()) for number in range(50)]
    assert await asyncio.gather(*(bus.values.get(value) for value in values)) == [b"%d" % n for n in range(50)]
