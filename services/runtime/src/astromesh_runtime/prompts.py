"""System prompts: Jinja2 in the immutable sandbox, compiled once for an agent version."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from jinja2 import ChainableUndefined, Template, TemplateError, nodes
from jinja2.meta import find_undeclared_variables
from jinja2.sandbox import ImmutableSandboxedEnvironment

from astromesh.v1.memory_pb2 import RecallRelatedResponse
from astromesh.v1.values_pb2 import ROLE_ASSISTANT, Message, Passage
from astromesh_core.errors import InvalidInput
from astromesh_core.events.contents import plain
from astromesh_core.untrusted import marked
from astromesh_runtime.memories import episode_variables, episodes_text, memories_text, memory_variables
from astromesh_runtime.turns import without_calls

MAX_PROMPT_CHARACTERS = 1_000_000
"""A rendered prompt beyond this is refused: a template that loops costs memory, not only tokens."""

_PLACES = {
    "knowledge": ("knowledge",),
    "semantic_context": ("knowledge", "semantic"),
    "memory.semantic": ("semantic",),
    "memory.semantic_text": ("semantic",),
    "memory.episodes": ("episodes",),
    "memory.episodic": ("episodes",),
    "memory.episodes_text": ("episodes",),
}
"""What stands where a template names it."""

_BLOCKS = "\0blocks"
"""No name of a template's: what may have to be put behind it."""

_ENVIRONMENT = ImmutableSandboxedEnvironment(
    undefined=ChainableUndefined, autoescape=False, keep_trailing_newline=False
)
# Neither a way to read files nor one to reach into the interpreter; loops and text tools stay.
for _name in ("lipsum", "cycler", "joiner"):
    _ENVIRONMENT.globals.pop(_name)


@dataclass(frozen=True, slots=True)
class Prompt:
    """A compiled template."""

    template: Template
    constant: str | None = None
    """The text of a template that refers to nothing."""
    places: frozenset[str] = frozenset()
    """What the template says itself where it stands: knowledge, semantic, episodes."""

    def render(self, variables: Mapping[str, object]) -> str:
        """The prompt's text; undefined names render empty. What is known and remembered, and the template does not
        place, stands at its end.

        Raises InvalidInput for whatever the sandbox refuses.
        """
        text = self._rendered(variables) if self.constant is None else self.constant
        if not (blocks := variables.get(_BLOCKS)):
            return text
        left = [block for name, block in cast("dict[str, str]", blocks).items() if block and name not in self.places]
        return "\n\n".join((text, *left)).strip()

    def _rendered(self, variables: Mapping[str, object]) -> str:
        pieces = list[str]()
        size = 0
        try:
            for piece in self.template.generate(variables):
                size += len(piece)
                if size > MAX_PROMPT_CHARACTERS:
                    raise InvalidInput(f"spec.prompts.system renders to more than {MAX_PROMPT_CHARACTERS:,} characters")
                pieces.append(piece)
        except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
            raise InvalidInput(f"spec.prompts.system cannot be rendered: {error}") from error
        return "".join(pieces).strip()


def compile_prompt(source: str) -> Prompt:
    """Compiles a template. Raises InvalidInput with the line of a syntax error."""
    try:
        template = _ENVIRONMENT.from_string(source)
        prompt = Prompt(template, places=_placed(_ENVIRONMENT.parse(source)))
        return prompt if "{" in source else Prompt(template, prompt.render({}))
    except TemplateError as error:
        line = getattr(error, "lineno", None)
        where = f" (line {line} of the template)" if line else ""
        raise InvalidInput(f"spec.prompts.system is no valid Jinja2 template{where}: {error}") from error


def prompt_variables(
    context: Mapping[str, object],
    history: Sequence[Message],
    passages: Sequence[Passage],
    related: RecallRelatedResponse | None = None,
    *,
    boundary: str = "",
) -> dict[str, object]:
    """The names a template may use: the caller's own, and `context`, `memory`, `knowledge`, `semantic_context`."""
    related = related or RecallRelatedResponse()
    knowledge = "\n\n".join(f"[{passage.source}]\n{plain(passage.text)}" for passage in passages)
    knowledge = marked(boundary, "knowledge", knowledge) if knowledge else ""
    conversation = [
        {"role": "assistant" if message.role == ROLE_ASSISTANT else "user", "content": plain(message.content)}
        for message in without_calls(history)
    ]
    said, happened = memories_text(related.memories), episodes_text(related.episodes)
    episodes = episode_variables(related.episodes)
    return {
        **context,
        "context": context,
        "memory": {
            "conversation": conversation,
            "semantic": memory_variables(related.memories),
            "semantic_text": said,
            "episodes": episodes,
            "episodic": episodes,
            "episodes_text": happened,
        },
        "knowledge": knowledge,
        "semantic_context": "\n\n".join(filter(None, (knowledge, said))),
        _BLOCKS: {"knowledge": knowledge, "semantic": said, "episodes": happened},
    }


def _placed(template: nodes.Template) -> frozenset[str]:
    names = find_undeclared_variables(template)
    names |= {f"memory.{name}" for name in _attributes_of_memory(template)}
    return frozenset(place for name in names for place in _PLACES.get(name, ()))


def _attributes_of_memory(template: nodes.Template) -> Iterator[str]:
    for node in template.find_all((nodes.Getattr, nodes.Getitem)):
        if isinstance(node.node, nodes.Name) and node.node.name == "memory":
            if isinstance(node, nodes.Getattr):
                yield node.attr
            elif isinstance(node.arg, nodes.Const):
                yield str(node.arg.value)
