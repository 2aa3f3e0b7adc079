"""A model that goes on with the beginning of an answer, as vLLM, llama.cpp, Ollama and Anthropic do."""

from __future__ import annotations

from dataclasses import replace

from astromesh_testing.models.replies import Reply
from astromesh_testing.models.scripted import ChatRequest, Responder


def continuing(reply: Reply) -> Responder:
    """Answers with `reply`, or with the rest of its text where the last message is the assistant's and begins it."""

    def respond(request: ChatRequest) -> Reply:
        if request.messages[-1].get("role") != "assistant":
            return reply
        assert reply.text.startswith(request.last_text), "it was asked to go on with something else"
        return replace(reply, text=reply.text[len(request.last_text) :])

    return respond
