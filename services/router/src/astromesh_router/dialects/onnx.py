"""Models of ONNX Runtime GenAI, in this process: which folder is asked with which prompt, and what its reply is.

The runtime is an extra of the distribution (`astromesh[onnx]`); nothing of it is imported before the first call. A
model is loaded at its first call, once for all of them, and kept. Its thread and its memory: `onnx_model`,
`onnx_engine`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from astromesh.v1.router_pb2 import CompleteRequest
from astromesh.v1.values_pb2 import Usage
from astromesh_core.errors import InvalidInput, NotFound, NotSupported, Unavailable
from astromesh_core.resources import extras
from astromesh_router.candidates import Candidate
from astromesh_router.dialects.decoding import Said, as_object
from astromesh_router.dialects.onnx_engine import SETTERS, Broken, Ended, Order, Refused, Step, Written
from astromesh_router.dialects.port import Delta, Part, Reply, Thought
from astromesh_router.dialects.profiles import profile_of
from astromesh_router.dialects.requesting import asked_schema, with_words
from astromesh_router.dialects.schemas import no_form
from astromesh_router.dialects.think_tags import OPENS
from astromesh_router.dialects.written_calls import WrittenCalls
from astromesh_router.failures import failed

if TYPE_CHECKING:
    from astromesh_router.dialects.onnx_model import Model
    from astromesh_router.dialects.onnx_prompts import Prompts

CONFIGURATION = "genai_config.json"
"""What makes a folder a model."""

TEMPLATE_CHOICE = "chat_template_kwargs"
"""The parameter whose fields the chat template is told, as vLLM calls it."""

COUNTS = frozenset({"top_k", "max_tokens", "min_tokens", "no_repeat_ngram_size"})


@dataclass(frozen=True)
class Loaded:
    """A model in memory, and how its prompts are written."""

    model: Model
    prompts: Prompts


class Onnx:
    """Answers with models of this machine. A `model` is a folder, absolute or below `models`."""

    def __init__(self, models: Path) -> None:
        self._models = models
        self._loading: dict[Path, asyncio.Task[Loaded]] = {}

    async def stream(
        self, candidate: Candidate, request: CompleteRequest, *, prefill: str = ""
    ) -> AsyncGenerator[Part, None]:
        loaded = await self._loaded(candidate)
        reply = Reading(request)
        async with aclosing(replied(candidate, request, loaded, prefill, reply)) as steps:
            async for step in steps:
                for delta in reply.read(step):
                    yield delta
        yield reply.whole()

    async def models(self, candidate: Candidate) -> list[str]:
        """Lists nothing: whether the candidate's folder holds a model is all that is known. It is not loaded."""
        self._folder(candidate)
        return []

    async def close(self) -> None:
        """Stops all models and frees their memory."""
        loading = list(self._loading.values())
        self._loading.clear()
        for outcome in await asyncio.gather(*loading, return_exceptions=True):
            if isinstance(outcome, Loaded):
                await outcome.model.close()

    def _folder(self, candidate: Candidate) -> Path:
        """The candidate's folder. Raises CandidateFailed where there is no model in it, or no runtime for it."""
        if not extras.ONNX.installed:
            raise failed(candidate, NotSupported, extras.ONNX.missing, advice=extras.ONNX.advice)
        name = Path(candidate.model)
        if not name.is_absolute() and ".." in name.parts:
            raise failed(candidate, InvalidInput, "its folder is not below the models", advice="write an absolute path")
        folder = self._models / name
        if not folder.is_dir():
            reason = f"there is no folder {folder}"
            raise failed(candidate, NotFound, reason, advice=f"put the model there, or below {self._models}")
        if not (folder / CONFIGURATION).is_file():
            advice = "export it with onnxruntime-genai's model builder, or take the inner folder of the download"
            raise failed(candidate, InvalidInput, f"{folder} has no {CONFIGURATION}", advice=advice)
        return folder.resolve()

    async def _loaded(self, candidate: Candidate) -> Loaded:
        folder = await asyncio.to_thread(self._folder, candidate)
        loading = self._loading.get(folder)
        if loading is None or is_gone(loading):
            loading = asyncio.create_task(load(folder), name=f"loading {folder.name}")
            self._loading[folder] = loading
        try:
            # Shielded: whoever leaves, the others wait for the same.
            return await asyncio.shield(loading)
        except (RuntimeError, ImportError, InvalidInput) as error:
            self._loading.pop(folder, None)
            raise failed(candidate, InvalidInput, f"cannot be loaded: {error}") from error


def is_gone(loading: asyncio.Task[Loaded]) -> bool:
    """Whether a model was loaded and its thread has ended since."""
    return loading.done() and not loading.cancelled() and not loading.exception() and not loading.result().model.usable


async def load(folder: Path) -> Loaded:
    """Loads a model. Raises RuntimeError with the runtime's words, ImportError, InvalidInput for its template."""
    from astromesh_router.dialects.onnx_model import Model
    from astromesh_router.dialects.onnx_prompts import Prompts

    prompts = await asyncio.to_thread(Prompts, folder)
    model = Model(folder)
    await model.ready()
    return Loaded(model, prompts)


async def replied(
    candidate: Candidate, request: CompleteRequest, loaded: Loaded, prefill: str, reply: Reading
) -> AsyncGenerator[Written | Ended, None]:
    """The steps of one reply, the last an Ended. A schema that the grammar does not take is asked for in words.
    Raises CandidateFailed."""
    order = ordered(candidate, request, loaded.prompts, prefill, guided=True)
    reply.begin(order)
    try:
        async with aclosing(taken(candidate, loaded.model, order)) as steps:
            async for step in steps:
                yield step
    except GrammarRefused:
        order = ordered(candidate, request, loaded.prompts, prefill, guided=False)
        async with aclosing(taken(candidate, loaded.model, order)) as steps:
            async for step in steps:
                yield step


class GrammarRefused(Exception):
    """The runtime makes no grammar of the schema; nothing was generated."""


async def taken(candidate: Candidate, model: Model, order: Order) -> AsyncGenerator[Written | Ended, None]:
    """The steps of one turn. Raises GrammarRefused, CandidateFailed."""
    turn = model.begin(order)
    try:
        async with aclosing(turn.steps()) as steps:
            async for step in steps:
                yield accepted(candidate, step)
    finally:
        model.leave(turn)


def accepted(candidate: Candidate, step: Step) -> Written | Ended:
    """The step. Raises GrammarRefused, CandidateFailed for what is none."""
    if isinstance(step, Broken):
        raise failed(candidate, Unavailable, f"broke off: {step.reason}")
    if isinstance(step, Refused):
        if step.grammar:
            raise GrammarRefused
        raise failed(candidate, InvalidInput, f"refused the request: {step.reason}")
    return step


def ordered(candidate: Candidate, request: CompleteRequest, prompts: Prompts, prefill: str, *, guided: bool) -> Order:
    """What the runtime is asked for; `guided`: with a grammar where the request wants a schema. Raises
    CandidateFailed for what the model cannot be asked."""
    from astromesh_router.dialects.onnx_prompts import written_messages

    if any(message.images for message in request.messages):
        raise failed(candidate, InvalidInput, "takes no pictures", advice="declare capabilities.vision: false")
    profile = profile_of(candidate)
    asked = asked_schema(candidate, request, profile if guided else replace(profile, schema_form=no_form))
    messages = with_words(written_messages(request.messages, profile.reasoning_back), asked.words)
    try:
        prompt = prompts.written(messages, request.tools, as_object(candidate.parameters.get(TEMPLATE_CHOICE)))
    except InvalidInput as error:
        raise failed(candidate, InvalidInput, error.message) from error
    grammar = orjson.dumps(asked.fields["grammar"]).decode() if asked.fields else ""
    return Order(prompt + prefill, settings(candidate), grammar)


def settings(candidate: Candidate) -> Mapping[str, float]:
    """The candidate's parameters as numbers. Raises CandidateFailed for one that the runtime does not know."""
    found: dict[str, float] = {}
    for name, value in candidate.parameters.items():
        if name == TEMPLATE_CHOICE:
            continue
        if name not in SETTERS:
            advice = f"remove it; known are {', '.join(sorted(SETTERS))} and {TEMPLATE_CHOICE}"
            raise failed(candidate, InvalidInput, f"knows no parameters.{name}", advice=advice)
        if isinstance(value, bool) or not isinstance(value, int | float) or (name in COUNTS and value != int(value)):
            kind = "a whole number" if name in COUNTS else "a number"
            raise failed(candidate, InvalidInput, f"parameters.{name} must be {kind}")
        found[name] = value
    return found


class Reading:
    """Reads one reply: thinking, text and tool calls."""

    def __init__(self, request: CompleteRequest) -> None:
        self._said = Said(think_tags=True)
        self._calls = WrittenCalls(frozenset(tool.name for tool in request.tools))
        self._texts: list[str] = []
        self._end = Ended("stop", Usage())

    def begin(self, order: Order) -> None:
        """Takes note of the prompt: some open the thinking themselves."""
        if order.prompt.rstrip().endswith(OPENS):
            self._said.text(OPENS)

    def read(self, step: Written | Ended) -> list[Delta]:
        """What a step brings; an empty text where nothing of it can be told yet."""
        if isinstance(step, Written):
            self._said.text(step.text)
            return self._deltas() or [""]
        self._end = step
        self._said.end()
        deltas, rest = self._deltas(), self._calls.finish()
        return [*deltas, *self._told(rest)]

    def whole(self) -> Reply:
        """The reply that was read to its end."""
        calls = tuple(self._calls.calls)
        reason = "tool_calls" if calls and self._end.finish_reason == "stop" else self._end.finish_reason
        return Reply("".join(self._texts), calls, reason, self._end.usage, self._said.reasoning)

    def _deltas(self) -> list[Delta]:
        found: list[Delta] = []
        for delta in self._said.new():
            found += [delta] if isinstance(delta, Thought) else self._told(self._calls.feed(delta))
        return found

    def _told(self, text: str) -> list[Delta]:
        if not text:
            return []
        self._texts.append(text)
        return [text]
