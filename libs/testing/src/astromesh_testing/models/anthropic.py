"""A fake server of Anthropic's Messages API: its events, tool calls in fragments, signed thinking, error bodies."""

from __future__ import annotations

from collections.abc import Iterator

import orjson

from astromesh_testing.models.loopback import Exchange
from astromesh_testing.models.replies import Call, Refusal, Reply
from astromesh_testing.models.scripted import ChatRequest, JsonObject, ScriptedModelServer, play_pieces

VERSION = "2023-06-01"
SIGNATURE = "EqQBCgIYAhIM-fake"


class AnthropicServer(ScriptedModelServer):
    """Speaks `POST /v1/messages` and `GET /v1/models`; `endpoint` is what goes into an agent's YAML.

    Refuses, as the API does, a request without `anthropic-version` or `max_tokens`, and an answer's beginning that ends
    in whitespace.
    """

    chat_path = "/v1/messages"

    @property
    def endpoint(self) -> str:
        return self.url

    async def answer_other(self, exchange: Exchange) -> None:
        if exchange.request.path == "/v1/models":
            listed = [{"type": "model", "id": name, "display_name": name} for name in self.models]
            await exchange.send(200, orjson.dumps({"data": listed, "has_more": False}), "application/json")
            return
        await exchange.send(404, self.error_body(Refusal(404, "no such page", "not_found_error")), "application/json")

    def error_body(self, refusal: Refusal) -> bytes:
        return orjson.dumps(failure(refusal.kind, refusal.message))

    async def answer_chat(self, exchange: Exchange, request: ChatRequest, reply: Reply) -> None:
        complaint = complaint_about(request)
        if complaint:
            refusal = Refusal(400, complaint, "invalid_request_error")
            await exchange.send(400, self.error_body(refusal), "application/json")
            return
        await exchange.begin("text/event-stream")
        await exchange.piece(start(str(request.body.get("model")), reply))
        bad = (event(failure("overloaded_error", "the engine died")), b"event: ping\ndata: {not json\n\n")
        await play_pieces(exchange, reply, list(pieces(reply)), end(reply), bad)


def complaint_about(request: ChatRequest) -> str:
    """Why the API refuses a request; empty where it does not."""
    if request.headers.get("anthropic-version") != VERSION:
        return "anthropic-version: header is required"
    if not request.body.get("max_tokens"):
        return "max_tokens: Field required"
    last = request.messages[-1]
    content = last.get("content")
    if last.get("role") == "assistant" and isinstance(content, str) and content != content.rstrip():
        return "messages: final assistant content cannot end with trailing whitespace"
    return ""


def failure(kind: str, message: str) -> JsonObject:
    """An error, as a body and as an event."""
    return {"type": "error", "error": {"type": kind, "message": message}}


def event(data: JsonObject) -> bytes:
    """One server-sent event, named by its type."""
    return b"event: %b\ndata: %b\n\n" % (str(data["type"]).encode(), orjson.dumps(data))


def start(model: str, reply: Reply) -> bytes:
    """The beginning of a message, and a ping."""
    message: JsonObject = {"id": "msg_fake", "type": "message", "role": "assistant", "model": model, "content": []}
    if reply.tokens:
        fresh = reply.tokens.input - reply.tokens.cached
        message["usage"] = {
            "input_tokens": fresh,
            "cache_read_input_tokens": reply.tokens.cached,
            "cache_creation_input_tokens": 0,
            "output_tokens": 1,
        }
    return event({"type": "message_start", "message": message}) + event({"type": "ping"})


def pieces(reply: Reply) -> Iterator[bytes]:
    """The blocks of a reply, one delta a piece; a block's first delta brings its beginning along, and so its end."""
    index = 0
    if reply.thinking:
        think: list[JsonObject] = [{"type": "thinking_delta", "thinking": reply.thinking}]
        yield from block(index, {"type": "thinking", "thinking": "", "signature": ""}, [*think, signed()])
        index += 1
    if reply.text:
        words: list[JsonObject] = [{"type": "text_delta", "text": word} for word in reply.words()]
        yield from block(index, {"type": "text", "text": ""}, words)
        index += 1
    for call in reply.calls:
        yield from block(index, called(call), fragments(call))
        index += 1


def signed() -> JsonObject:
    return {"type": "signature_delta", "signature": SIGNATURE}


def called(call: Call) -> JsonObject:
    return {"type": "tool_use", "id": call.id, "name": call.name, "input": {}}


def fragments(call: Call) -> list[JsonObject]:
    """The arguments in two deltas, the first of all being empty, as the API does."""
    middle = len(call.arguments) // 2
    parts = ["", call.arguments[:middle], call.arguments[middle:]]
    return [{"type": "input_json_delta", "partial_json": part} for part in parts]


def block(index: int, begun: JsonObject, deltas: list[JsonObject]) -> Iterator[bytes]:
    """A block's events, in as many pieces as it has deltas."""
    head = event({"type": "content_block_start", "index": index, "content_block": begun})
    written = [event({"type": "content_block_delta", "index": index, "delta": delta}) for delta in deltas]
    *most, last = [head + written[0], *written[1:]]
    yield from most
    yield last + event({"type": "content_block_stop", "index": index})


def end(reply: Reply) -> list[bytes]:
    """The end of a message: its reason, the usage in all, and the mark."""
    reason = reply.finish or ("tool_use" if reply.calls else "end_turn")
    closing: JsonObject = {"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": None}}
    if reply.tokens:
        closing["usage"] = {"output_tokens": reply.tokens.output}
    return [event(closing), event({"type": "message_stop"})]
