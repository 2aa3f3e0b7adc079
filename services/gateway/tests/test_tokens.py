"""The growing text of a run: pure."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from astromesh.v1.run_events_pb2 import InputChecked, ModelCallBegun, ModelReplied, RunCompleted, RunEvent, RunStarted
from astromesh.v1.signal_pb2 import Delta
from astromesh.v1.values_pb2 import MaskedValue, Message
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


def completed(text: str) -> RunEvent:
    return RunEvent(completed=RunCompleted(answer=text_content(text)))


@given(text=st.text(min_size=1, max_size=20), lost=st.sets(st.integers(0, 19)), broken_off=st.integers(0, 20))
def test_of_an_answer_that_rules_let_go_what_is_lost_is_made_up_for_by_the_checked_one(
    text: str, lost: set[int], broken_off: int
) -> None:
    tokens = Tokens()
    told: list[Token | Thought | Restart] = [
        *tokens.event(RunEvent(started=RunStarted(checks_output=True, streams_checked=True)))
    ]
    for attempt, length in ((1, min(broken_off, len(text))), (2, len(text))):
        told += tokens.event(begun())
        for offset, character in enumerate(text[:length]):
            if offset not in lost:
                told += tokens.delta(Delta(path="1", attempt=attempt, offset=offset, text=character))
    told += tokens.event(replied("as the model said it, unchecked"))
    told += tokens.event(completed(text))
    assert shown(told) == text


def test_an_answer_that_is_told_otherwise_in_the_end_is_told_anew() -> None:
    tokens = Tokens()
    told: list[Token | Thought | Restart] = [
        *tokens.event(RunEvent(started=RunStarted(checks_output=True, streams_checked=True)))
    ]
    told += [*tokens.event(begun()), *tokens.delta(Delta(path="1", attempt=1, text="one"))]
    told += [*tokens.event(replied("x")), *tokens.event(completed("two"))]
    assert told[1:] == [Restart("1"), Token("two", "")]


def test_what_makes_up_for_lost_pieces_has_its_masks_undone() -> None:
    tokens = Tokens()
    masked = MaskedValue(token="<EMAIL_1>", value=text_content("ada@example.com"))
    told: list[Token | Thought | Restart] = [*tokens.event(RunEvent(input_checked=InputChecked(masked=[masked])))]
    told += [*tokens.event(begun()), *tokens.delta(Delta(path="1", attempt=1, text="to ada@"))]
    told += tokens.event(replied("to <EMAIL_1>!"))
    told += tokens.event(completed("to ada@example.com!"))
    assert told == [Token("to ada@", "1"), Token("example.com!", "1")]
