"""YAML becomes plain values with lines, and nothing else."""

from __future__ import annotations

import time

from astromesh_core.resources.yaml_documents import MAX_BYTES, read_documents


def test_knows_the_line_of_every_node() -> None:
    (document,), problems = read_documents("a:\n  - b: 1\n    c: [x,\n        y]\n", "f")
    assert problems == []
    assert document.value == {"a": [{"b": 1, "c": ["x", "y"]}]}
    assert document.lines[("a", 0, "c", 1)] == 4
    assert document.lines[("a", 0, "b")] == 2


def test_reads_every_document_and_counts_lines_through_the_file() -> None:
    documents, _ = read_documents("a: 1\n---\n---\nb: 2\n", "f")
    assert [document.value for document in documents] == [{"a": 1}, {"b": 2}]
    assert documents[1].lines[("b",)] == 4


def test_dates_stay_text() -> None:
    (document,), _ = read_documents("day: 2026-01-02\n", "f")
    assert document.value == {"day": "2026-01-02"}


def test_merge_keys_give_what_is_not_given() -> None:
    (document,), _ = read_documents("base: &b {x: 1, y: 2}\nthis: {<<: *b, y: 3}\n", "f")
    assert document.value == {"base": {"x": 1, "y": 2}, "this": {"y": 3, "x": 1}}


def test_refuses_a_bomb_of_aliases_at_once() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    begun = time.monotonic()
    documents, (problem,) = read_documents("\n".join(lines), "bomb.yaml")
    assert documents == []
    assert "unfolds to more than" in problem.reason
    assert time.monotonic() - begun < 2


def test_refuses_a_value_that_holds_itself() -> None:
    documents, (problem,) = read_documents("a: &a [*a]\n", "loop.yaml")
    assert documents == []
    assert problem.code == "InvalidYAML"


def test_refuses_a_huge_file() -> None:
    _, (problem,) = read_documents("#" * (MAX_BYTES + 1), "huge.yaml")
    assert "larger than" in problem.reason


def test_refuses_what_is_not_utf8_and_says_in_which_line() -> None:
    _, (problem,) = read_documents(b"a: 1\nb: \xff\n", "latin.yaml")
    assert (problem.line, problem.reason) == (2, "is not UTF-8 text")


def test_an_empty_file_holds_nothing() -> None:
    assert read_documents("# nothing\n", "f") == ([], [])
