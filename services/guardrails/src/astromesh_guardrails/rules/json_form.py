"""The rule `json_schema`."""

from __future__ import annotations

from astromesh_core.answers import AnswerSchema
from astromesh_core.resources.guardrail_content import JsonForm
from astromesh_guardrails.rules.acting import allowed, refused
from astromesh_guardrails.rules.port import Applied
from astromesh_native.spans import Span


class JsonFormRule:
    """Lets JSON through that matches a schema; blocks anything else, or only says so."""

    name = "json_schema"

    def __init__(self, spec: JsonForm) -> None:
        self._schema = AnswerSchema(spec.json_schema)
        self._action = spec.action

    def apply(self, text: str) -> Applied:
        """Judges the text as a whole."""
        problems = self._schema.problems(text)
        if not problems:
            return allowed(self.name, text)
        # What is wrong quotes the text; where it is wrong does not.
        places = ", ".join(dict.fromkeys(it.partition(":")[0] for it in problems if it.startswith(("/", "the whole"))))
        why = f"the text does not match its schema: {places}" if places else "the text is no JSON that can be judged"
        return refused(self.name, self._action, text, [Span(0, len(text), "JSON_SCHEMA")], f"{why}.")
