"""A fake server of OpenAI chat completions: SSE with deltas, tool calls in fragments, the usage chunk, error bodies."""

from __future__ import annotations

from typing import cast

import orjson

from astromesh_testing.models.loopback import Exchange
from astromesh_testing.models.replies import Call, Refusal, Reply, Tokens
from astromesh_testing.models.scripted import ChatRequest, JsonObject, ScriptedModelServer, play_pieces

ID = "chatcmpl-fake"


class OpenAIChatServer(ScriptedModelServer):
    """Speaks `POST /v1/chat/completions` and `GET /v1/models`; `endpoint` is what goes into an agent's YAML."""

    chat_path = "/v1/chat/completions"
    models_path = "/v1/models"
    reasoning_field = "reasoning_content"
    no_choices: object = []
    """What `choices` are in the chunk that brings the usage."""
    reports_usage = True
    interrupted = False
    """Whether a reply ends as one does that the server breaks off for another: with the mark of the end alone."""
    software = "fake"
    """What the `Server` header says."""

    @property
    def endpoint(self) -> str:
        return f"{self.url}/v1"

    async def answer_other(self, exchange: Exchange) -> None:
        if exchange.request.path == self.models_path:
            listed = [{"id": name, "object": "model", "owned_by": "tests"} for name in self.models]
            await exchange.send(200, orjson.dumps({"object": "list", "data": listed}), "application/json")
            return
        await exchange.send(404, self.error_body(Refusal(404, "no such page")), "application/json")

    def error_body(self, refusal: Refusal) -> bytes:
        return orjson.dumps({"error": {"message": refusal.message, "type": refusal.kind, "code": refusal.kind}})

    def deltas(self, reply: Reply) -> list[JsonObject]:
        """The deltas of a reply, in order."""
        return deltas(reply, self.reasoning_field)

    def objection(self, request: ChatRequest) -> Refusal | None:
        """What the vendor refuses, whatever the script says."""
        del request
        return None

    async def answer_chat(self, exchange: Exchange, request: ChatRequest, reply: Reply) -> None:
        model = str(request.body.get("model"))
        objection = self.objection(request)
        if objection is not None:
            await exchange.send(objection.status, self.error_body(objection), "application/json")
            return
        if not request.body.get("stream"):
            await exchange.send(200, orjson.dumps(whole(model, reply)), "application/json")
            return
        options = cast(JsonObject, request.body.get("stream_options") or {})
        await exchange.begin("text/event-stream", {"server": self.software})
        tail = [] if self.interrupted else [event(chunk(model, {}, finish_reason(reply)))]
        if self.reports_usage and options.get("include_usage") and reply.tokens:
            tail.append(event({**chunk(model, {}), "choices": self.no_choices, "usage": usage(reply.tokens)}))
        tail.append(b"data: [DONE]\n\n")
        bad = (event({"error": {"message": "the engine died", "type": "server_error"}}), b"data: {not json\n\n")
        told = [event(chunk(model, delta)) for delta in self.deltas(reply)]
        await play_pieces(exchange, reply, told, tail, bad)


def event(data: object) -> bytes:
    """One server-sent event."""
    return b"data: %b\n\n" % orjson.dumps(data)


def chunk(model: str, delta: JsonObject, finish: str | None = None) -> JsonObject:
    """One `chat.completion.chunk`."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": ID, "object": "chat.completion.chunk", "created": 1, "model": model, "choices": [choice]}


def deltas(reply: Reply, reasoning_field: str = "reasoning_content") -> list[JsonObject]:
    """The deltas of a reply, in order: reasoning, words, then each tool call in fragments."""
    thinking: list[JsonObject] = [{reasoning_field: reply.thinking}] if reply.thinking else []
    words: list[JsonObject] = [{"content": word} for word in reply.words()]
    calls = [delta for index, call in enumerate(reply.calls) for delta in call_deltas(index, call)]
    first, *rest = [*thinking, *words, *calls] or [{"content": ""}]
    return [{"role": "assistant", **first}, *rest]


def call_deltas(index: int, call: Call) -> list[JsonObject]:
    """A tool call as it is streamed: id and name first, then the arguments in two fragments."""
    middle = len(call.arguments) // 2
    head: JsonObject = {"index": index, "type": "function", "function": {"name": call.name, "arguments": ""}}
    if call.id:
        head["id"] = call.id
    parts = [call.arguments[:middle], call.arguments[middle:]]
    fragments: list[JsonObject] = [{"index": index, "function": {"arguments": part}} for part in parts if part]
    return [{"tool_calls": [part]} for part in [head, *fragments]]


def whole(model: str, reply: Reply) -> JsonObject:
    """One `chat.completion`, for a request that asks for no stream."""
    message: JsonObject = {"role": "assistant", "content": reply.text or None}
    if reply.calls:
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in reply.calls
        ]
    choice = {"index": 0, "message": message, "finish_reason": finish_reason(reply)}
    body: JsonObject = {"id": ID, "object": "chat.completion", "created": 1, "model": model, "choices": [choice]}
    return {**body, "usage": usage(reply.tokens)} if reply.tokens else body


def finish_reason(reply: Reply) -> str:
    return reply.finish or ("tool_calls" if reply.calls else "stop")


def usage(tokens: Tokens) -> JsonObject:
    return {
        "prompt_tokens": tokens.input,
        "completion_tokens": tokens.output,
        "total_tokens": tokens.input + tokens.output,
        "prompt_tokens_details": {"cached_tokens": tokens.cached},
        "completion_tokens_details": {"reasoning_tokens": tokens.reasoning},
    }
