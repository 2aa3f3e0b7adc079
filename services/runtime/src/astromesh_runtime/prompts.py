"""System prompts: Jinja2 in the immutable sandbox, compiled once for an agent version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jinja2 import ChainableUndefined, Template, TemplateError
from jinja2.meta import find_undeclared_variables
from jinja2.sandbox import ImmutableSandboxedEnvironment

from astromesh.v1.values_pb2 import ROLE_ASSISTANT, Message, Passage
from astromesh_core.errors import InvalidInput
from astromesh_core.events.contents import plain

MAX_PROMPT_CHARACTERS = 1_000_000
"""A rendered prompt beyond this is refused: a template that loops costs memory, not only tokens."""

_SHOWS_KNOWLEDGE = frozenset(("knowledge", "semantic_context"))

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
    shows_knowledge: bool = False
    """Whether the template says itself where the passages stand."""

    def render(self, variables: Mapping[str, object]) -> str:
        """The prompt's text; undefined names render empty. Passages that the template does not place stand at its end.

        Raises InvalidInput for whatever the sandbox refuses.
        """
        text = self._rendered(variables) if self.constant is None else self.constant
        passages = "" if self.shows_knowledge else str(variables.get("knowledge", ""))
        return f"{text}\n\n{passages}".strip() if passages else text

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
        shown = not _SHOWS_KNOWLEDGE.isdisjoint(find_undeclared_variables(_ENVIRONMENT.parse(source)))
        prompt = Prompt(template, shows_knowledge=shown)
        return prompt if "{" in source else Prompt(template, prompt.render({}))
    except TemplateError as error:
        line = getattr(error, "lineno", None)
        where = f" (line {line} of the template)" if line else ""
        raise InvalidInput(f"spec.prompts.system is no valid Jinja2 template{where}: {error}") from error


def prompt_variables(
    context: Mapping[str, object], history: Sequence[Message], passages: Sequence[Passage]
) -> dict[str, object]:
    """The names a template may use: the caller's own, and `context`, `memory`, `knowledge`, `semantic_context`."""
    knowledge = "\n\n".join(f"[{passage.source}]\n{plain(passage.text)}" for passage in passages)
    conversation = [
        {"role": "assistant" if message.role == ROLE_ASSISTANT else "user", "content": plain(message.content)}
        for message in history
    ]
    return {
        **context,
        "context": context,
        "memory": {"conversation": conversation},
        "knowledge": knowledge,
        "semantic_context": knowledge,
    }
