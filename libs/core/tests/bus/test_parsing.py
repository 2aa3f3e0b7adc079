"""Messages arrive whole however the connection cuts their bytes, with their headers read on demand."""

from collections.abc import Iterator

import pytest
from nats.aio.client import Client
from nats.errors import ProtocolError

from astromesh_core.bus.parsing import Message, MessageParser

WIRE = (
    b"MSG a.b 7 5\r\nhello\r\n+OK\r\n"
    b"MSG a.b 7 _INBOX.x 0\r\n\r\n"
    b"HMSG live.c 8 23 25\r\nNATS/1.0\r\nA: 1\r\nB:x:y\r\n\r\nok\r\n"
    b"HMSG live.c 8 inbox 28 28\r\nNATS/1.0 503 No Responders\r\n\r\n\r\n"
    b"MSG a.b 7 14\r\nMSG a 1 2\r\nx\r\n\r\n"
)


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))


async def read(data: bytes, size: int) -> list[Message]:
    client = Client()
    heard: list[Message] = []

    def deliver(sid: int, subject: bytes, reply: bytes, payload: bytes, head: bytes) -> None:
        heard.append(Message(client, f"{sid} {subject.decode()}", reply.decode(), payload, head))

    parser = MessageParser(client, deliver)
    for piece in pieces(data, size):
        await parser.parse(piece)
    return heard


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50, 1000])
async def test_messages_are_the_same_however_they_are_cut(size: int) -> None:
    heard = await read(WIRE.replace(b"8 23 25", b"8 25 27").replace(b"28 28", b"30 30"), size)
    assert [(m.subject, m.reply, m.data) for m in heard] == [
        ("7 a.b", "", b"hello"),
        ("7 a.b", "_INBOX.x", b""),
        ("8 live.c", "", b"ok"),
        ("8 live.c", "inbox", b""),
        ("7 a.b", "", b"MSG a 1 2\r\nx\r\n"),
    ]
    assert [m.headers for m in heard] == [
        None,
        None,
        {"A": "1", "B": "x:y"},
        {"Status": "503", "Description": "No Responders"},
        None,
    ]


async def test_a_large_message_in_many_pieces_arrives() -> None:
    body = bytes(4 << 20)
    (message,) = await read(b"MSG a 1 %d\r\n%b\r\n" % (len(body), body), 64 << 10)
    assert message.data == body


@pytest.mark.parametrize("line", [b"MSG a\r\n", b"MSG a x 3\r\nabc\r\n", b"HMSG a 1 3\r\nabc\r\n", b"NONSENSE\r\n"])
async def test_what_is_no_protocol_is_refused(line: bytes) -> None:
    with pytest.raises(ProtocolError):
        await read(line, 1000)
