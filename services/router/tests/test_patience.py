"""How long a model is waited for and how often it is asked, as a file declares it."""

from __future__ import annotations

import pytest

from astromesh.v1.router_pb2 import CompleteRequest
from astromesh_core.errors import AstromeshError, TimedOut, Unavailable
from astromesh_router.calls import Calls
from astromesh_testing.contracts.placement import Placement
from astromesh_testing.models.openai_chat import OpenAIChatServer
from astromesh_testing.models.replies import Ending, Hang, Refusal, Reply, Scripted

from .asking import user
from .serving import Served, answer, stub_of

DECLARED = """
apiVersion: astromesh/v1
kind: Agent
metadata: {{name: a}}
spec:
  model:
    primary:
      provider: openai_compat
      model: stub-1
      endpoint: {endpoint}
      {setting}
"""

CASES: list[tuple[str, Scripted, type[AstromeshError], str]] = [
    ("timeout_seconds: 0.4", Hang(), TimedOut, r"no complete reply within 0\.4 s"),
    ("timeout: 0.4", Reply("one two three four", pause=0.2), TimedOut, r"no complete reply within 0\.4 s"),
    ("first_token_timeout_seconds: 0.3", Hang(), TimedOut, r"no first token within 0\.3 s"),
    (
        "between_tokens_timeout_seconds: 0.3",
        Reply("one two", ending=Ending.HANG, after=1),
        TimedOut,
        r"nothing more within 0\.3 s",
    ),
    ("max_retries: 0", Refusal(503), Unavailable, "answered 503"),
]


@pytest.fixture
def served(calls: Calls) -> Served:
    return Served(calls)


@pytest.mark.parametrize(("setting", "reply", "kind", "said"), CASES)
async def test_a_declared_patience_ends_the_call(
    placement: Placement, served: Served, setting: str, reply: Scripted, kind: type[AstromeshError], said: str
) -> None:
    async with OpenAIChatServer(otherwise=reply) as server, placement(served.register) as channel:
        agent = served.declared(DECLARED.format(endpoint=server.endpoint, setting=setting))
        with pytest.raises(kind, match=said):
            await answer(stub_of(channel), CompleteRequest(agent=agent, messages=[user("hello")], path="1"))
        assert len(server.requests) == 1


@pytest.mark.parametrize(("setting", "attempts"), [("max_retries: 3", 4), ("", 2)])
async def test_a_declared_number_of_retries_is_kept(
    placement: Placement, served: Served, setting: str, attempts: int
) -> None:
    """Without one, a model is asked once more."""
    busy = Refusal(429, "slow down", "rate_limit_exceeded", retry_after="0")
    async with OpenAIChatServer(otherwise=busy) as server, placement(served.register) as channel:
        declared = DECLARED.format(endpoint=server.endpoint, setting=setting)
        with pytest.raises(AstromeshError, match="answered 429"):
            await answer(
                stub_of(channel), CompleteRequest(agent=served.declared(declared), messages=[user("x")], path="1")
            )
        assert len(server.requests) == attempts
