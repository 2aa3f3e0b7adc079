"""The growing text of a run: pure."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from astromesh.v1.run_events_pb2 import ModelCallBegun, ModelReplied, RunEvent
from astromesh.v1.signal_pb2 import Delta
from astromesh.v1.values_pb2 import Message
from astromesh_core.events.contents import text_content
from astromesh_gateway.tokens import Restart, Thought, Token, Tokens


def begun(path: str = "1", reason: str = "") -> RunEvent:
    return RunEvent(model_call_begun=ModelCallBegun(path=path, reason=reason))


def replied(text: str, path: str = "1") -> RunEvent:
    return RunEvent(model_replied=ModelReplied(path=path, message=Message(content=text_content(text))))


def shown(told: list[Token | Thought | Restart]) -> str:
    """What stands on a screen in the end."""
    text = ""
    for part in told:
        text = "" if isinstance(part, Restart) else text + part.text
    return text


def test_a_piece_waits_for_the_begun_of_its_attempt() -> None:
    tokens = Tokens()
    assert list(tokens.delta(Delta(path="1", attempt=1, text="early"))) == []
    assert list(tokens.event(begun())) == []
    assert list(tokens.early("1")) == [Token("early", "1")]


def test_a_piece_of_an_attempt_that_was_replaced_is_dropped() -> None:
    tokens = Tokens()
    told = [*tokens.event(begun()), *tokens.delta(Delta(path="1", attempt=1, text="old"))]
    told += tokens.event(begun(reason="it broke off"))
    told += tokens.delta(Delta(path="1", attempt=1, offset=3, text="er"))
    assert told == [Token("old", "1"), Restart("1", "it broke off")]


@given(
    text=st.text(min_size=1, max_size=30),
    lost=st.sets(st.integers(0, 29)),
    doubled=st.sets(st.integers(0, 29)),
    broken_off=st.integers(0, 30),
)
def test_whatever_is_lost_the_whole_text_is_shown_in_the_end(
    text: str, lost: set[int], doubled: set[int], broken_off: int
) -> None:
    tokens = Tokens()
    told: list[Token | Thought | Restart] = [*tokens.event(begun())]
    for attempt, length in ((1, min(broken_off, len(text))), (2, len(text))):
        for offset, character in enumerate(text[:length]):
            delta = Delta(path="1", attempt=attempt, offset=offset, text=character)
            for _ in range(0 if offset in lost else 2 if offset in doubled else 1):
                told += tokens.delta(delta)
        if attempt == 1:
            told += tokens.event(begun())
    told += tokens.event(replied(text))
    assert shown(told) == text
