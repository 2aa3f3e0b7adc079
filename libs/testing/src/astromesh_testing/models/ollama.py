"""A fake Ollama server: `/api/chat` as lines of JSON, `/api/tags`, `/api/version`."""

from __future__ import annotations

import orjson

from astromesh_testing.models.loopback import Exchange
from astromesh_testing.models.replies import Refusal, Reply
from astromesh_testing.models.scripted import ChatRequest, JsonObject, ScriptedModelServer, play_pieces

CREATED = "2026-01-01T00:00:00Z"


class OllamaServer(ScriptedModelServer):
    """Speaks Ollama's chat; tool calls come whole and without ids, arguments as an object."""

    chat_path = "/api/chat"

    @property
    def endpoint(self) -> str:
        return self.url

    async def answer_other(self, exchange: Exchange) -> None:
        match exchange.request.path:
            case "/api/tags":
                listed = [{"name": name, "model": name, "size": 1} for name in self.models]
                await exchange.send(200, orjson.dumps({"models": listed}), "application/json")
            case "/api/version":
                await exchange.send(200, b'{"version":"0.12.3"}', "application/json")
            case _:
                await exchange.send(404, b"404 page not found", "text/plain")

    def error_body(self, refusal: Refusal) -> bytes:
        return orjson.dumps({"error": refusal.message})

    async def answer_chat(self, exchange: Exchange, request: ChatRequest, reply: Reply) -> None:
        model = str(request.body.get("model"))
        if request.body.get("stream") is False:
            message: JsonObject = {"role": "assistant", "content": reply.text}
            if reply.calls:
                message["tool_calls"] = calls(reply)
            await exchange.send(200, orjson.dumps({**last(model, reply), "message": message}), "application/json")
            return
        await exchange.begin("application/x-ndjson")
        pieces = [line(part(model, delta)) for delta in deltas(reply)]
        bad = (line({"error": "the runner stopped"}), b"{not json\n")
        await play_pieces(exchange, reply, pieces, [line(last(model, reply))], bad)


def line(data: object) -> bytes:
    return orjson.dumps(data) + b"\n"


def part(model: str, message: JsonObject) -> JsonObject:
    """One line before the last."""
    whole = {"role": "assistant", "content": "", **message}
    return {"model": model, "created_at": CREATED, "message": whole, "done": False}


def deltas(reply: Reply) -> list[JsonObject]:
    """Thinking, words, then all tool calls at once."""
    thinking: list[JsonObject] = [{"thinking": reply.thinking}] if reply.thinking else []
    words: list[JsonObject] = [{"content": word} for word in reply.words()]
    called: list[JsonObject] = [{"tool_calls": calls(reply)}] if reply.calls else []
    return [*thinking, *words, *called]


def calls(reply: Reply) -> list[JsonObject]:
    """Tool calls; arguments that are no JSON go out as the text they are."""
    return [
        {"function": {"index": index, "name": call.name, "arguments": arguments(call.arguments)}}
        for index, call in enumerate(reply.calls)
    ]


def arguments(text: str) -> object:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text


def last(model: str, reply: Reply) -> JsonObject:
    """The line that ends a reply."""
    done: JsonObject = {"model": model, "created_at": CREATED, "message": {"role": "assistant", "content": ""}}
    done |= {"done": True, "done_reason": reply.finish or "stop", "total_duration": 1_000_000}
    if reply.tokens:
        done |= {"prompt_eval_count": reply.tokens.input, "eval_count": reply.tokens.output}
    return done
