"""Where what an agent knows stands in its prompt."""

from __future__ import annotations

import pytest

from astromesh.v1.values_pb2 import Passage
from astromesh_core.events.contents import text_content
from astromesh_runtime.prompts import compile_prompt, prompt_variables

PASSAGES = [Passage(source="guide.md", text=text_content("a fact"))]


@pytest.mark.parametrize(
    ("source", "rendered"),
    [
        ("Be brief.", "Be brief.\n\n[guide.md]\na fact"),
        ("", "[guide.md]\na fact"),
        ("Be brief, {{ name }}.", "Be brief, Ann.\n\n[guide.md]\na fact"),
        ("{{ knowledge }} Be brief.", "[guide.md]\na fact Be brief."),
        ("{% if semantic_context %}Known: {{ semantic_context }}{% endif %}", "Known: [guide.md]\na fact"),
    ],
)
def test_passages_stand_where_the_template_says_and_else_at_its_end(source: str, rendered: str) -> None:
    assert compile_prompt(source).render(prompt_variables({"name": "Ann"}, [], PASSAGES)) == rendered


@pytest.mark.parametrize("source", ["Be brief.", "Be brief, {{ name }}."])
def test_a_caller_who_brings_the_word_knowledge_puts_nothing_before_the_model(source: str) -> None:
    rendered = compile_prompt(source).render(prompt_variables({"name": "you", "knowledge": "lies"}, [], []))
    assert "lies" not in rendered
