"""Every fault of a model server, on loopback: a typed error that names who, where and what to do, and never a key."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import orjson
import pytest

import astromesh_testing.models
from astromesh_core.errors import (
    AstromeshError,
    BudgetExceeded,
    Denied,
    InvalidInput,
    LimitExceeded,
    NotFound,
    TimedOut,
    Unavailable,
)
from astromesh_core.events.contents import plain
from astromesh_router.calls import Calls
from astromesh_router.candidates import Candidate, Patience, Pool
from astromesh_testing.models.loopback import Exchange, LoopbackServer
from astromesh_testing.models.openai_chat import OpenAIChatServer, chunk, event
from astromesh_testing.models.replies import Call, Refusal, Reply

from .asking import ADD, KEY, Gathered, asking, complete, gather, openai

Play = Callable[[Exchange], Awaitable[None]]
SHORT = Patience(whole=1.5, first_token=0.4, between_tokens=0.4)
LONG = Patience(whole=30, first_token=30, between_tokens=30)
CERTIFICATE = Path(astromesh_testing.models.__file__).parent / "untrusted.pem"
MIB = 1024 * 1024

HELLO = event(chunk("m", {"content": "Hello"}))
CHEESE = orjson.dumps(chunk("m", {"content": " Käse"}))
CUT = b"data: " + CHEESE[: CHEESE.index("ä".encode()) + 1]
"""An event up to the first of the two bytes of a character."""


def error(message: str, **fields: object) -> bytes:
    return orjson.dumps({"error": {"message": message, **fields}})


def whole(status: int, body: bytes, content_type: str = "application/json", **headers: str) -> Play:
    async def play(exchange: Exchange) -> None:
        await exchange.send(status, body, content_type, headers)

    return play


def streaming(*pieces: bytes, end: bool = True, pause: float = 0.0) -> Play:
    async def play(exchange: Exchange) -> None:
        await exchange.begin("text/event-stream")
        for piece in pieces:
            await exchange.piece(piece)
            await exchange.pause(pause)
        if end:
            await exchange.end()
        else:
            exchange.break_off()

    return play


def endless(piece: bytes, pause: float = 0.0) -> Play:
    async def play(exchange: Exchange) -> None:
        await exchange.begin("text/event-stream")
        while True:
            await exchange.piece(piece)
            if pause:
                await exchange.pause(pause)

    return play


async def dribbled_head(exchange: Exchange) -> None:
    """Slow loris, the other way round: a byte of the head now and then."""
    for byte in b"HTTP/1.1 200 OK\r\nx-long: " + b"a" * 1000:
        await exchange.raw(bytes([byte]))
        await exchange.pause(0.05)


@dataclass(frozen=True)
class Fault:
    """What a server does, and what becomes of it."""

    play: Play
    kind: type[AstromeshError]
    said: str
    to_do: str


FAULTS: dict[str, Fault] = {
    "wrong key": Fault(
        whole(401, error(f"Incorrect API key provided: {KEY}", code="invalid_api_key")),
        *(Denied, "answered 401", "check ${LLM_KEY}"),
    ),
    "wrong key, told in a stream": Fault(
        streaming(b"data: " + error(f"bad key {KEY}", type="authentication_error") + b"\n\n"),
        *(Denied, "answered 401", "check ${LLM_KEY}"),
    ),
    "unknown model": Fault(
        whole(404, error("The model `m` does not exist", code="model_not_found")),
        *(NotFound, "The model `m` does not exist", "check the endpoint, and that it serves the model m"),
    ),
    "malformed JSON": Fault(
        streaming(HELLO, b'data: {"choices": [{]\n\n'),
        *(Unavailable, "sent a line that is no JSON", "check that the endpoint is right"),
    ),
    "an HTML error page": Fault(
        whole(502, b"<html><h1>Bad Gateway</h1>", "text/html"),
        *(Unavailable, "answered 502", "see what its server says, or name a fallback model"),
    ),
    "a page to sign in": Fault(
        whole(200, b"<html>Sign in</html>", "text/html; charset=utf-8"),
        *(Unavailable, "answered with a web page", "check the endpoint"),
    ),
    "200 with an error body": Fault(
        whole(200, error(f"the engine is gone, {KEY}")),
        *(Unavailable, "reported an error in mid-reply (the engine is gone, [key])", "see what its server says"),
    ),
    "200 with an error body that names a status": Fault(
        whole(200, error("Insufficient credits", code=402)),
        *(BudgetExceeded, "answered 402 (Insufficient credits)", "pay into the vendor's account: its credit is spent"),
    ),
    "200 with nothing": Fault(
        whole(200, b"{}"),
        *(Unavailable, "ended the stream before the reply was complete", "check that the endpoint is right"),
    ),
    "cut in the middle of a character, the connection too": Fault(
        streaming(HELLO, CUT, end=False, pause=0.02),
        *(Unavailable, "broke off in mid-reply", "see what its server says, or name a fallback model"),
    ),
    "cut in the middle of a character, properly ended": Fault(
        streaming(HELLO, CUT),
        *(Unavailable, "sent a line that is no JSON", "check that the endpoint is right"),
    ),
    "slow loris in the head": Fault(
        dribbled_head,
        *(TimedOut, "no first token within 0.4 s", "give it more time"),
    ),
    "slow loris of heartbeats": Fault(
        endless(b": OPENROUTER PROCESSING\n\n", 0.05),
        *(TimedOut, "no first token within 0.4 s", "give it more time"),
    ),
    "slow loris of bytes": Fault(
        streaming(HELLO, *(bytes([byte]) for byte in HELLO * 9), pause=0.05),
        *(TimedOut, "no complete reply within 1.5 s", "give it more time"),
    ),
    "100 MB of text": Fault(
        endless(event(chunk("m", {"content": "x" * MIB}))),
        *(LimitExceeded, "answered with more than 16777216 characters", "max_tokens"),
    ),
    "100 MB in one line": Fault(
        endless(b"x" * MIB),
        *(Unavailable, "sent a line without end", "check the endpoint"),
    ),
    "100 MB of a tool call": Fault(
        endless(event(chunk("m", {"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": "x" * MIB}}]}))),
        *(LimitExceeded, "sent 16 MiB without a word", "max_tokens"),
    ),
}


@asynccontextmanager
async def faulty(play: Play, tls: ssl.SSLContext | None = None) -> AsyncGenerator[tuple[LoopbackServer, Candidate]]:
    async with LoopbackServer(play, tls=tls) as server:
        yield server, at(server.url)


def at(url: str) -> Candidate:
    return Candidate("openai_compat", "openai_compat", "m", url, key="${LLM_KEY}", patience=SHORT, max_retries=0)


async def failure_of(calls: Calls, candidate: Candidate) -> tuple[AstromeshError, Gathered]:
    gathered = Gathered()
    with pytest.raises(AstromeshError) as caught:
        await gather(calls.complete(Pool((candidate,)), asking()), gathered)
    return caught.value, gathered


def assert_told(
    failure: AstromeshError, candidate: Candidate, kind: type[AstromeshError], said: str, todo: str
) -> None:
    assert type(failure) is kind
    who, _, what_to_do = failure.message.rpartition("; ")
    assert who.startswith(f"openai_compat m at {candidate.endpoint}: ")
    assert said in who
    assert todo in what_to_do
    assert KEY not in f"{failure!r} {failure.__cause__!r} {failure.__context__!r}"


@pytest.mark.parametrize("name", FAULTS)
async def test_a_fault_becomes_an_error_that_says_who_where_and_what_to_do(calls: Calls, name: str) -> None:
    fault = FAULTS[name]
    async with faulty(fault.play) as (server, quick):
        candidate = replace(quick, patience=LONG) if name.startswith("100 MB") else quick
        failure, gathered = await failure_of(calls, candidate)
        assert_told(failure, candidate, fault.kind, fault.said, fault.to_do)
        assert "\ufffd" not in gathered.text
        assert server.connections == 1


async def test_heartbeats_behind_a_finished_reply_do_not_put_off_its_end(calls: Calls) -> None:
    async def play(exchange: Exchange) -> None:
        await exchange.begin("text/event-stream")
        await exchange.piece(HELLO + event(chunk("m", {}, "stop")))
        while True:
            await exchange.piece(b": OPENROUTER PROCESSING\n\n")
            await exchange.pause(0.05)

    async with faulty(play) as (_, candidate):
        gathered = Gathered()
        await gather(calls.complete(Pool((candidate,)), asking()), gathered)
    assert (gathered.text, gathered.completion.finish_reason) == ("Hello", "stop")


async def test_a_redirect_to_another_host_is_not_followed(calls: Calls) -> None:
    async with OpenAIChatServer() as other, faulty(whole(307, b"", location=f"{other.url}/v1")) as (_, candidate):
        failure, _ = await failure_of(calls, candidate)
        assert_told(failure, candidate, InvalidInput, "answered 307", "set endpoint to the final one")
        assert other.connections == 0


async def test_a_certificate_that_nobody_vouches_for_is_refused(calls: Calls) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    async with faulty(whole(200, b"{}"), context) as (server, _):
        candidate = at(server.url)
        failure, _ = await failure_of(calls, candidate)
    assert_told(failure, candidate, Unavailable, "certificate that is not trusted (self-signed", "SSL_CERT_FILE")


async def test_a_server_without_tls_is_told_from_one_with_a_bad_certificate(calls: Calls) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        candidate = at(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        failure, _ = await failure_of(calls, candidate)
    assert_told(failure, candidate, Unavailable, "does not speak TLS", "write http://")


async def test_a_refused_connection_says_so(calls: Calls) -> None:
    async with faulty(whole(200, b"{}")) as (_, candidate):
        pass
    failure, _ = await failure_of(calls, candidate)
    assert_told(failure, candidate, Unavailable, "refused the connection", "check the endpoint")


@pytest.mark.parametrize("host", ["nowhere.invalid", f"{'x' * 64}.example"])
async def test_a_host_that_nobody_knows_is_named(calls: Calls, host: str) -> None:
    candidate = at(f"http://{host}/v1")
    failure, _ = await failure_of(calls, candidate)
    assert_told(failure, candidate, Unavailable, "has a host name that no", "check the")


async def test_a_reply_without_end_is_left_at_its_bound(calls: Calls) -> None:
    sent = 0
    piece = event(chunk("m", {"content": "x" * MIB}))

    async def play(exchange: Exchange) -> None:
        nonlocal sent
        await exchange.begin("text/event-stream")
        while True:
            await exchange.piece(piece)
            sent += 1

    async with faulty(play) as (server, candidate):
        failure, _ = await failure_of(calls, replace(candidate, patience=LONG))
        assert isinstance(failure, LimitExceeded)
        async with asyncio.timeout(1):
            await server.departed()
    assert sent < 40, "the rest is not even asked for"


async def test_a_usage_chunk_with_null_choices_is_read(calls: Calls) -> None:
    end = event(chunk("m", {}, "stop"))
    usage = event({"choices": None, "usage": {"prompt_tokens": 3, "completion_tokens": 2}})
    async with faulty(streaming(HELLO, end, usage, b"data: [DONE]\n\n")) as (_, candidate):
        gathered = await complete(calls, asking(), candidate)
    assert (gathered.text, gathered.completion.charge.usage.input_tokens) == ("Hello", 3)


async def test_calls_that_no_tool_can_take_go_on_to_those_who_judge_them(calls: Calls) -> None:
    """The tools service answers the model: what is no JSON, and which tools there are."""
    written = (Call("add", "{a: one", "c1"), Call("no_such_tool", "{}", "c2"))
    async with OpenAIChatServer(Reply(calls=written)) as server:
        gathered = await complete(calls, asking(tools=[ADD]), openai(server))
    told = [(call.name, plain(call.arguments)) for call in gathered.completion.message.tool_calls]
    assert told == [("add", "{a: one"), ("no_such_tool", "{}")]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 408, 409, 413, 422, 429, 500, 501, 502, 503, 504, 529])
async def test_every_status_says_what_to_do_and_only_the_servers_own_blame_it(calls: Calls, status: int) -> None:
    async with OpenAIChatServer(Refusal(status, f"words with {KEY}")) as server:
        candidate = replace(openai(server), key="${LLM_KEY}")
        failure, _ = await failure_of(calls, candidate)
    assert failure.message.startswith(f"openai_compat stub-1 at {server.endpoint}: answered {status}")
    assert "; " in failure.message
    assert KEY not in failure.message
