"""What the caller of one call has been told, across the candidates that were asked for it.

Rules: text is shown as it comes and never twice. When a candidate breaks off, the next one goes on with its text where
it can; where it cannot, a Restart makes the text void, just before the first word that replaces it. So whatever stands
since the last Restart, joined, is the text of the final message.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from astromesh.v1.router_pb2 import Asked, CompleteRequest, CompleteResponse, Restart
from astromesh.v1.values_pb2 import Charge, Usage
from astromesh_core.errors import InvalidInput, LimitExceeded, NotSupported
from astromesh_router.candidates import Candidate
from astromesh_router.completion import asked, called_tokens, charge_of
from astromesh_router.continuing import Joint, can_continue
from astromesh_router.dialects.port import Delta, Reply, Thought
from astromesh_router.failures import CandidateFailed, failed
from astromesh_router.tokens import prompt_tokens, text_tokens

LONGEST_REPLY = 16 * 1024 * 1024
"""Characters of text and thoughts that one candidate may tell: memory is bounded by it."""


class Telling:
    """One call's text on its way to the caller, while its candidates are asked one after the other."""

    def __init__(self, request: CompleteRequest, clock: Callable[[], int]) -> None:
        """`clock` counts nanoseconds."""
        self._request = request
        self._clock = clock
        self._begun = clock()
        self._standing: list[str] = []
        self._void = ""
        """Why what stands cannot be gone on with by the candidate that told it; empty where that one is being asked."""
        self._anew = False
        self.first_told = 0
        """Nanoseconds from the call's beginning to the first that stands; 0 until then."""

    def ask(self, candidate: Candidate) -> str:
        """A candidate is asked; returns what it is to go on with, which is empty where it begins anew."""
        self._candidate = candidate
        self._heard: list[str] = []
        self._characters = self._answered = 0
        self.began = False
        """Whether the candidate has given any sign of an answer."""
        self.told = False
        """Whether the caller has seen any of it."""
        text = "" if self._anew or not self._void else "".join(self._standing)
        self._anew = False
        self._joint = Joint(text) if can_continue(candidate, self._request, text) else None
        self._prefill = self._joint.prefill if self._joint else ""
        return self._prefill

    @property
    def goes_on(self) -> bool:
        """Whether the candidate goes on with what another one has told."""
        return self._joint is not None

    def delta(self, part: Delta) -> list[CompleteResponse]:
        """What to tell of the candidate's next words; an empty text says only that it is at work.

        Raises CandidateFailed for a reply without end.
        """
        self.began = True
        text = part.text if isinstance(part, Thought) else part
        if not text:
            return []
        self._heard.append(text)
        self._characters += len(text)
        if self._characters > LONGEST_REPLY:
            raise failed(self._candidate, LimitExceeded, f"answered with more than {LONGEST_REPLY} characters")
        if isinstance(part, Thought):
            return self._show(CompleteResponse(reasoning_delta=text, asked=self._asked()))
        self._answered += len(text)
        return self._show_text(self._joint.feed(text) if self._joint else text)

    def end(self, reply: Reply) -> tuple[list[CompleteResponse], Reply]:
        """What is left to tell of a complete reply, and that reply with all the text that stands, and its usage.

        What a dialect says in its reply alone is told now.
        """
        self.began = True
        rest = reply.text[self._answered :]
        self._heard.append(rest)
        if self._joint:
            rest = self._joint.feed(rest) + self._joint.finish()
        shown = self._show_text(rest) or self._restart()
        self._mark()
        text = "".join(self._standing)
        if text == reply.text and reply.usage:
            return shown, reply
        return shown, replace(reply, text=text, usage=reply.usage or self._estimated(called_tokens(reply.calls)))

    def broke_off(self, failure: CandidateFailed) -> Charge | None:
        """The candidate failed; returns what it will have cost, where it had begun to answer."""
        if self.told:
            self._void = f"{self._candidate.provider} {self._candidate.model}: {failure.reason}"
        self._anew = isinstance(failure.error, LimitExceeded)
        return self.charge_so_far() if self.began else None

    def begins_anew(self, failure: CandidateFailed) -> bool:
        """Whether the candidate is to be asked again for a whole answer: it refused to go on with a beginning."""
        refuses = bool(self._prefill) and not self.began and isinstance(failure.error, InvalidInput | NotSupported)
        self._anew = self._anew or refuses
        return refuses

    def charge_so_far(self) -> Charge:
        """What the candidate being asked will have cost by now, estimated from its prompt and its words."""
        return charge_of(self._candidate, self._estimated())

    def _estimated(self, called: int = 0) -> Usage:
        read = prompt_tokens(self._request) + text_tokens(self._prefill)
        written = text_tokens("".join(self._heard)) + called
        return Usage(input_tokens=read, output_tokens=written, estimated=True)

    def _show_text(self, text: str) -> list[CompleteResponse]:
        if not text:
            return []
        shown = self._show(CompleteResponse(text_delta=text, asked=self._asked()))
        self._standing.append(text)
        return shown

    def _show(self, response: CompleteResponse) -> list[CompleteResponse]:
        self.told = True
        shown = [*self._restart(), response]
        self._mark()
        return shown

    def _asked(self) -> Asked | None:
        return None if self.told else asked(self._candidate)

    def _restart(self) -> list[CompleteResponse]:
        """Takes back what stands, unless the candidate being asked goes on with it."""
        if self._joint or not self._void:
            return []
        reason, self._void = self._void, ""
        self._standing.clear()
        self.first_told = 0
        return [CompleteResponse(restart=Restart(reason=reason))]

    def _mark(self) -> None:
        self.first_told = self.first_told or self._clock() - self._begun
