"""The engine of one loaded model: onnxruntime-genai's objects, which one thread alone may touch (`onnx_model`'s).

The engine generates for several turns at once and lets go of the interpreter while it works, as genai's older Generator
does not: that one stops the whole process for as long as a prompt takes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from astromesh.v1.values_pb2 import Usage

if TYPE_CHECKING:
    from onnxruntime_genai import EngineEvent, Request, TokenizerStream, TurnOptions

Settings = Mapping[str, float]

SETTERS: dict[str, Callable[[TurnOptions, float], None]] = {
    "temperature": lambda options, value: options.set_temperature(float(value)),
    "top_p": lambda options, value: options.set_top_p(float(value)),
    "top_k": lambda options, value: options.set_top_k(int(value)),
    "max_tokens": lambda options, value: options.set_max_generated_tokens(int(value)),
    "min_tokens": lambda options, value: options.set_min_generated_tokens(int(value)),
    "repetition_penalty": lambda options, value: options.set_repetition_penalty(float(value)),
    "no_repeat_ngram_size": lambda options, value: options.set_no_repeat_ngram_size(int(value)),
}
"""What each parameter sets. Source: ONNX Runtime, "Generate API", search options."""

DRAWING = frozenset({"top_k", "top_p"})
LENGTH = frozenset({"MAX_GENERATED_TOKENS", "MAX_SESSION_TOKENS"})
ENDS = frozenset({"EOS", "STOP_STRING"})
UNFINISHED = "NONE"
PUT_OFF = frozenset({"NONE", "CAPACITY_DEFERRED", "RETRYABLE_EXECUTION"})
"""What is no error of a turn's, or passes while it waits within the engine."""

EVENTS_AT_ONCE = 64


@dataclass(frozen=True)
class Order:
    """What to generate: after which text, how, and in which grammar (a JSON Schema; empty: none)."""

    prompt: str
    settings: Settings
    grammar: str = ""


@dataclass(frozen=True)
class Written:
    """What one token added to the text; nothing where it is a part of a character."""

    text: str


@dataclass(frozen=True)
class Ended:
    """The turn's end: `finish_reason` is one of the contract's."""

    finish_reason: str
    usage: Usage


@dataclass(frozen=True)
class Refused:
    """The runtime does not take the order; `grammar`: because of its grammar."""

    reason: str
    grammar: bool = False


@dataclass(frozen=True)
class Broken:
    """The runtime failed at its work."""

    reason: str


Step = Written | Ended | Refused | Broken


class Listener(Protocol):
    """Who waits for the steps of a turn."""

    @property
    def order(self) -> Order:
        """What it waits for."""
        ...

    def hear(self, step: Step) -> None:
        """Takes the next step, in the engine's thread. The last is no Written."""
        ...


@dataclass
class Running:
    """A turn that the engine works on."""

    listener: Listener
    request: Request
    stream: TokenizerStream


class Engine:
    """Loads a model and generates with it. Raises RuntimeError with genai's words where the folder holds none."""

    def __init__(self, folder: Path) -> None:
        # The library has its vendor's telemetry built in, which is told so before it is loaded.
        os.environ["ORT_DISABLE_TELEMETRY"] = "1"
        import onnxruntime_genai as genai

        genai.disable_telemetry_events()
        self._genai = genai
        self._model = genai.Model(str(folder))
        self._tokenizer = genai.Tokenizer(self._model)
        self._tokenizer.update_options(add_special_tokens="false")  # the chat template has written them
        self._start()

    @property
    def busy(self) -> bool:
        """Whether `step` has something to do."""
        return bool(self._running)

    def begin(self, listener: Listener) -> None:
        """Takes a turn in; beyond as many as fit at once, it waits within the engine."""
        request = self._engine.create_request()
        options = self._genai.TurnOptions(request)
        refused = self._refused(request, options, listener.order)
        if refused is not None:
            request.close()
            listener.hear(refused)
            return
        self._running.append(Running(listener, request, self._tokenizer.create_stream()))

    def leave(self, listener: Listener) -> None:
        """Ends a turn that nobody waits for any more; one that ended already is let be."""
        for running in self._running:
            if running.listener is listener:
                self._drop(running)
                return

    def step(self) -> None:
        """Generates the next token of each turn that is at work, and tells those who wait."""
        try:
            events = self._engine.run(self._buffer)
        except RuntimeError as error:
            # What an engine does after an error is not said: this one is left, and the model kept.
            self._break(str(error))
            self._start()
            return
        for event in events:
            running = next((each for each in self._running if each.request is event.request), None)
            if running is not None:
                self._heard(running, event)

    def close(self) -> None:
        """Ends every turn and frees the model's memory. Nothing may be called afterwards."""
        self._break("the router is stopping")
        del self._engine, self._buffer, self._tokenizer, self._model

    def _start(self) -> None:
        self._engine = self._genai.Engine(self._model)
        self._buffer = self._engine.create_event_buffer(EVENTS_AT_ONCE)
        self._running: list[Running] = []

    def _refused(self, request: Request, options: TurnOptions, order: Order) -> Refused | None:
        """Begins the turn; why the runtime does not, if so."""
        try:
            if order.grammar:
                options.set_guidance("json_schema", order.grammar)
            greedy = order.settings.get("temperature") == 0
            if "temperature" in order.settings:
                options.set_do_sample(not greedy)
            for name, value in order.settings.items():
                # Without chance there is nothing to draw from, and the runtime refuses to be told of it.
                if not (greedy and name in DRAWING):
                    SETTERS[name](options, value)
            # A NUL would end the text for the runtime, which reads it as C does.
            request.begin_turn(self._tokenizer.encode(order.prompt.replace("\0", "\ufffd")), options)
        except (RuntimeError, TypeError) as error:  # a number too large for C is a TypeError
            reason = str(error).partition("\n")[0]
            of_grammar = "grammar" in reason or "guidance" in reason.lower()
            return Refused(reason, grammar=bool(order.grammar) and of_grammar)
        return None

    def _heard(self, running: Running, event: EngineEvent) -> None:
        if event.token is not None:
            running.listener.hear(Written(running.stream.decode(event.token)))
        reason = event.finish_reason.name
        if reason == UNFINISHED and event.error_code.name in PUT_OFF:
            return
        if reason in LENGTH or reason in ENDS:
            usage = Usage(
                input_tokens=event.usage.prompt_tokens,
                output_tokens=event.usage.generated_tokens,
                cached_input_tokens=event.usage.cached_prompt_tokens,
            )
            running.listener.hear(Ended("length" if reason in LENGTH else "stop", usage))
        else:
            running.listener.hear(Broken(event.error_code.name.lower().replace("_", " ")))
        self._drop(running)

    def _drop(self, running: Running) -> None:
        self._running.remove(running)
        running.request.close()

    def _break(self, reason: str) -> None:
        """Ends all turns."""
        for running in list(self._running):
            running.listener.hear(Broken(reason))
            self._drop(running)
