"""What of a turn is kept, and by which words it is found."""

from __future__ import annotations

from astromesh.v1.envelope_pb2 import Envelope
from astromesh.v1.run_events_pb2 import MemoryStored, RunEvent
from astromesh.v1.values_pb2 import ROLE_ASSISTANT, ROLE_TOOL, ROLE_USER, Content, Message, Role, Sealed
from astromesh_core.events.contents import text_content
from astromesh_memory.semantic.turns import BESIDE, PIECES, Piece, pieces_of


def said(role: Role.ValueType, text: str) -> Message:
    return Message(role=role, content=text_content(text))


def pieces(*turn: Message) -> list[Piece]:
    stored = RunEvent(memory_stored=MemoryStored(turn=turn))
    return pieces_of([Envelope(), Envelope(aggregate_id="07-run", index=1, run=stored)], 1)


def test_question_and_answer_are_found_apart_and_shown_together() -> None:
    found = pieces(
        said(ROLE_USER, "where is it?"), said(ROLE_ASSISTANT, ""), said(ROLE_TOOL, "{}"), said(ROLE_ASSISTANT, "there")
    )
    assert [piece.meaning for piece in found] == ["where is it?", "there"]
    assert {piece.passage.text.text for piece in found} == {"User: where is it?\nAssistant: there"}
    assert {piece.passage.source for piece in found} == {"07-run:1"}


def test_a_long_answer_is_kept_whole_in_pieces_with_the_beginning_of_its_question() -> None:
    answer = " ".join(f"word{number}" for number in range(2_000))
    question = "q" * (BESIDE * 3)
    found = pieces(said(ROLE_USER, question), said(ROLE_ASSISTANT, answer))
    of_answer = [piece for piece in found if piece.meaning in answer]
    assert all(len(piece.meaning) <= PIECES.chunk_size for piece in found)
    assert all(piece.passage.text.text.startswith("User: qqq") for piece in of_answer)
    assert all(piece.meaning in piece.passage.text.text for piece in found)
    assert {word for piece in of_answer for word in piece.meaning.split()} >= set(answer.split())
    places = [answer[piece.passage.start : piece.passage.end] for piece in of_answer]
    assert places == [piece.meaning for piece in of_answer]


def test_what_was_erased_is_not_kept() -> None:
    sealed = Message(role=ROLE_USER, content=Content(sealed=Sealed(key_id="gone")))
    assert pieces(sealed) == []
    (piece,) = pieces(sealed, said(ROLE_ASSISTANT, "there"))
    assert piece.passage.text.text == "Assistant: there"
