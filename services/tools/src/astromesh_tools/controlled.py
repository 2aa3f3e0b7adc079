"""A tool within its bounds, which every call of every type passes through: `bounds`, `answered`, `cutting`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import Final

from astromesh.v1.values_pb2 import TOOL_EFFECT_KIND_READ, Failure, ResourceRef, ToolResult, ToolSpec
from astromesh_core.errors import AstromeshError, InvalidInput
from astromesh_core.events.contents import plain, text_content
from astromesh_core.resources.agent_tools import ToolSpec as Declared
from astromesh_core.telemetry.logs import logger
from astromesh_core.user_code.foreign import failure_of
from astromesh_tools.answered import Answers, key_of
from astromesh_tools.arguments import ArgumentsSchema
from astromesh_tools.bounds import Bounds, BoundsOfTools, Refused
from astromesh_tools.catalogue import Offer, ToolSource, is_source
from astromesh_tools.cutting import BY_HAND, MOST_KEPT_CHARACTERS, ResultLimit, cut_off
from astromesh_tools.surroundings import KeptValues
from astromesh_tools.tool import Clock, Invocation, Tool

PATIENCE_SECONDS: Final = 5.0
"""How long a call waits for its turn that may begin whenever it likes."""

_log = logger(__name__)


class ControlledTool:
    """A tool, and what its agent's file says of its bounds."""

    def __init__(
        self,
        tool: Tool,
        limit: ResultLimit,
        bounds: Bounds | None,
        answers: Answers | None,
        clock: Clock,
        values: KeptValues,
    ) -> None:
        self.tool = tool
        self.answers = answers
        self._limit = limit
        self._bounds = bounds
        # What does not fit the schema is refused before it takes a place from what does.
        self._schema = ArgumentsSchema.of_text(tool.spec.parameters_json) if bounds is not None else None
        self._clock = clock
        self._values = values

    @property
    def spec(self) -> ToolSpec:
        """See Tool."""
        return self.tool.spec

    async def call(self, invocation: Invocation) -> ToolResult | Failure:
        """See Tool. A call that its bounds keep from beginning is a definite failure."""
        outcome = await self._answered(invocation)
        return await self._shown(outcome, invocation) if isinstance(outcome, ToolResult) else outcome

    async def _answered(self, invocation: Invocation) -> ToolResult | Failure:
        if self.answers is None:
            return await self._bounded(invocation)
        key = key_of(invocation.arguments)
        known = self.answers.find(key, invocation.call_id) if key is not None else None
        if known is not None:
            return known
        outcome = await self._bounded(invocation)
        if key is not None and isinstance(outcome, ToolResult):
            self.answers.keep(key, outcome)
        return outcome

    async def _bounded(self, invocation: Invocation) -> ToolResult | Failure:
        if self._bounds is None or self._schema is None:
            return await self.tool.call(invocation)
        try:
            self._schema.read(invocation.arguments)
            return await self._bounds.through(partial(self.tool.call, invocation), self._patience(invocation))
        except InvalidInput as error:
            return failure_of(error)
        except Refused as refused:
            return failure_of(refused.error)

    def _patience(self, invocation: Invocation) -> float:
        if not invocation.start_before:
            return PATIENCE_SECONDS
        return max(0.0, (invocation.start_before - self._clock()) / 1e9)

    async def _shown(self, result: ToolResult, invocation: Invocation) -> ToolResult:
        """The result as a model reads it: where it is too long its beginning, with the whole kept for whoever asks."""
        text = plain(result.output)
        limit = self._limit if invocation.path else BY_HAND
        count = limit.fitting(text)
        if count == len(text):
            return result
        shown = ToolResult()
        shown.CopyFrom(result)
        reader = invocation.reader
        if invocation.path:
            try:
                whole = text_content(text[:MOST_KEPT_CHARACTERS]).SerializeToString()
                shown.whole.CopyFrom(await self._values.put(whole))
            except AstromeshError as error:
                # What was done is done: its answer counts, though only its beginning is left.
                _log.warning("a result was cut and cannot be kept whole", tool=self.spec.name, reason=error.message)
                reader = ""
        shown.output.text = cut_off(text, count, invocation.path, reader)
        return shown


class ControlledSource:
    """Somebody who offers tools, each within the bounds of the entry."""

    def __init__(self, source: ToolSource, around: Callable[[Tool, ControlledTool | None], ControlledTool]) -> None:
        self._source = source
        self._around = around
        self._known: dict[str, ControlledTool] = {}

    @property
    def entry(self) -> str:
        """See ToolSource."""
        return self._source.entry

    @property
    def latest(self) -> Offer | None:
        """See ToolSource."""
        offer = self._source.latest
        return self._offered(offer) if offer is not None else None

    async def offer(self) -> Offer:
        """See ToolSource."""
        return self._offered(await self._source.offer())

    def pinned(self, spec: ToolSpec) -> Tool | None:
        """See ToolSource."""
        tool = self._source.pinned(spec)
        return self._controlled(tool) if tool is not None else None

    def _offered(self, offer: Offer) -> Offer:
        return Offer({name: self._controlled(tool) for name, tool in offer.tools.items()}, offer.health)

    def _controlled(self, tool: Tool) -> ControlledTool:
        known = self._known.get(tool.spec.name)
        if known is not None and known.tool is tool:
            return known
        same = known if known is not None and known.spec == tool.spec else None
        self._known[tool.spec.name] = controlled = self._around(tool, same)
        return controlled


class Controls:
    """Puts tools within the bounds that their entries declare."""

    def __init__(self, clock: Clock, values: KeptValues, seconds: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._values = values
        self._seconds = seconds
        self._bounds = BoundsOfTools(seconds)

    def around(
        self, entry: Tool | ToolSource, declared: Declared, agent: ResourceRef
    ) -> ControlledTool | ControlledSource:
        """What an entry stands for; where that is several tools, the bounds on their calls hold for them together."""
        around = partial(self._tool, declared, agent)
        return ControlledSource(entry, around) if is_source(entry) else around(entry, None)

    def _tool(self, declared: Declared, agent: ResourceRef, tool: Tool, same: ControlledTool | None) -> ControlledTool:
        bounds = self._bounds.of(declared, agent, tool.spec.timeout_ms / 1000) if declared.bounds_calls else None
        reads = tool.spec.effect == TOOL_EFFECT_KIND_READ
        answers = Answers(declared.cache, self._seconds) if declared.cache is not None and reads else None
        limit = ResultLimit(declared.max_result_bytes, declared.max_result_tokens)
        kept = same.answers if same is not None else answers
        return ControlledTool(tool, limit, bounds, kept, self._clock, self._values)
