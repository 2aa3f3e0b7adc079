"""What the fake model servers share: a script of replies, a record of requests, and faults without a wire format."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import orjson

from astromesh_testing.models.loopback import Exchange, LoopbackServer
from astromesh_testing.models.replies import Drop, Ending, Hang, Refusal, Reply, Rubbish, Scripted

JsonObject = dict[str, object]


@dataclass(frozen=True)
class ChatRequest:
    """A chat request as a server received it."""

    headers: dict[str, str]
    body: JsonObject

    @property
    def messages(self) -> list[JsonObject]:
        return cast("list[JsonObject]", self.body.get("messages", []))

    @property
    def last_text(self) -> str:
        """The content of the last message, or nothing."""
        return str(self.messages[-1].get("content") or "") if self.messages else ""


Responder = Callable[[ChatRequest], Scripted]


class ScriptedModelServer(LoopbackServer):
    """A model server that answers what the script says next and, once the script is used up, what `otherwise` says.

    `otherwise` is a reply or a function of the request. `requests` holds every chat request in order of arrival.
    """

    chat_path: str

    def __init__(
        self,
        *script: Scripted,
        otherwise: Scripted | Responder = Reply("The script is used up."),  # noqa: B008 - an immutable value
        models: Sequence[str] = ("stub-1",),
        port: int = 0,
    ) -> None:
        super().__init__(self._answer, port)
        self.script: deque[Scripted] = deque(script)
        self.otherwise = otherwise
        self.models = list(models)
        self.requests: list[ChatRequest] = []

    async def asked(self, count: int = 1) -> None:
        """Returns once so many chat requests have come."""
        async with self.changed:
            await self.changed.wait_for(lambda: len(self.requests) >= count)

    async def answer_other(self, exchange: Exchange) -> None:
        """Answers what is not a chat: the vendor's list of models and such."""
        raise NotImplementedError

    async def answer_chat(self, exchange: Exchange, request: ChatRequest, reply: Reply) -> None:
        """Writes a reply in the vendor's format, up to `reply.ending`."""
        raise NotImplementedError

    def error_body(self, refusal: Refusal) -> bytes:
        """The vendor's error body."""
        raise NotImplementedError

    async def _answer(self, exchange: Exchange) -> None:
        if exchange.request.path != self.chat_path:
            await self.answer_other(exchange)
            return
        request = ChatRequest(exchange.request.headers, cast(JsonObject, orjson.loads(exchange.request.body)))
        async with self.changed:
            self.requests.append(request)
            self.changed.notify_all()
        await self._play(exchange, request, self._next(request))

    def _next(self, request: ChatRequest) -> Scripted:
        if self.script:
            return self.script.popleft()
        return self.otherwise(request) if callable(self.otherwise) else self.otherwise

    async def _play(self, exchange: Exchange, request: ChatRequest, scripted: Scripted) -> None:
        match scripted:
            case Reply():
                await self.answer_chat(exchange, request, scripted)
            case Refusal():
                await self._refuse(exchange, scripted)
            case Rubbish():
                await exchange.send(200, scripted.body, scripted.content_type)
            case Hang():
                await exchange.hang()
            case Drop():
                exchange.break_off()

    async def _refuse(self, exchange: Exchange, refusal: Refusal) -> None:
        headers = {"retry-after": refusal.retry_after, "location": refusal.location}
        body = self.error_body(refusal) if refusal.body is None else refusal.body
        present = {name: value for name, value in headers.items() if value}
        await exchange.send(refusal.status, body, "application/json", present)


async def play_pieces(
    exchange: Exchange, reply: Reply, pieces: Sequence[bytes], tail: Sequence[bytes], bad: tuple[bytes, bytes]
) -> None:
    """Sends the deltas and then either the tail of a complete reply or the scripted ending.

    `bad` is the vendor's error in mid-stream and a line that is not its format.
    """
    for number, piece in enumerate(pieces[: reply.after]):
        await exchange.pause(reply.pause if number else reply.pause_first)
        await exchange.piece(piece)
    if reply.ending is not Ending.COMPLETE:
        await exchange.pause(reply.pause)  # so that the client has read the deltas
    for piece in _sent_of(tail, reply.ending):
        await exchange.piece(piece)
    match reply.ending:
        case Ending.BREAK_OFF:
            exchange.break_off()
            return
        case Ending.HANG | Ending.HANG_AT_THE_END:
            await exchange.hang()
        case Ending.ERROR:
            await exchange.piece(bad[0])
        case Ending.RUBBISH:
            await exchange.piece(bad[1])
        case Ending.COMPLETE | Ending.STOP_SHORT:
            pass
    await exchange.end()


def _sent_of(tail: Sequence[bytes], ending: Ending) -> Sequence[bytes]:
    """What an ending leaves of what comes after the deltas."""
    if ending is Ending.COMPLETE:
        return tail
    return tail[:-1] if ending is Ending.HANG_AT_THE_END else ()
