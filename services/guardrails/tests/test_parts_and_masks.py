"""The rpcs beside CheckText, over both placements: a growing answer, and the texts that a model reads."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from astromesh.v1.guardrails_pb2 import CheckPartRequest, MaskTextsRequest, PartState
from astromesh.v1.guardrails_pb2_grpc import GuardrailsServiceStub, add_GuardrailsServiceServicer_to_server
from astromesh.v1.values_pb2 import Content, MaskedValue, ResourceRef, StoredValue
from astromesh_core.errors import InvalidInput, NotFound
from astromesh_core.events.contents import plain, text_content
from astromesh_core.rpc.ports import RpcServer
from astromesh_core.telemetry.telemetry import Telemetry
from astromesh_guardrails.service import GuardrailsService
from astromesh_testing.contracts.placement import Placement

from .judging import NO_MODELS
from .test_service import Store

if TYPE_CHECKING:
    from astromesh.v1.guardrails_pb2_grpc import GuardrailsServiceAsyncStub


@asynccontextmanager
async def serving(placement: Placement, store: Store) -> AsyncGenerator[GuardrailsServiceAsyncStub]:
    def register(server: RpcServer) -> None:
        service = GuardrailsService(store, store, Telemetry(), lambda agent: NO_MODELS)
        add_GuardrailsServiceServicer_to_server(service, server)

    async with placement(register) as channel:
        yield GuardrailsServiceStub(channel)


async def test_a_growing_answer_is_let_go_piece_by_piece_with_its_state_sent_along(placement: Placement) -> None:
    store, told = Store(), ""
    agent = store.add(output=[{"type": "pii_detection"}])
    states: list[PartState] = []
    pieces = ["Write to ada@exam", "ple.com. ", *(f"word{number} " for number in range(60)), ""]
    async with serving(placement, store) as stub:
        for number, piece in enumerate(pieces, 1):
            request = CheckPartRequest(agent=agent, text=piece, states=states, last=number == len(pieces))
            part = await stub.CheckPart(request, timeout=10)
            states, told = list(part.states), told + part.text
            assert "ada" not in told
            if number == 45:
                assert told.startswith("Write to [EMAIL]. word0")
    assert told == "".join(pieces).replace("ada@example.com", "[EMAIL]")


async def test_an_answer_that_must_be_seen_whole_is_not_let_go(placement: Placement) -> None:
    store = Store()
    agent = store.add(output=[{"type": "max_length", "max_characters": 10}])
    async with serving(placement, store) as stub:
        with pytest.raises(InvalidInput, match="max_length"):
            await stub.CheckPart(CheckPartRequest(agent=agent, text="x"), timeout=10)
        with pytest.raises(NotFound):
            await stub.CheckPart(CheckPartRequest(agent=ResourceRef(sha256=b"x"), text="x"), timeout=10)


async def test_texts_are_masked_with_the_tokens_of_the_run(placement: Placement) -> None:
    store = Store()
    agent = store.add(input=[{"type": "pii_detection", "action": "mask"}])
    known = MaskedValue(token="<EMAIL_1>", value=text_content("ada@example.com"))
    moved = Content(stored=StoredValue(sha256=b"x" * 32))
    texts = [text_content("bob@example.com"), moved, text_content("nobody")]
    async with serving(placement, store) as stub:
        response = await stub.MaskTexts(MaskTextsRequest(agent=agent, texts=texts, masked=[known]), timeout=10)
    assert [plain(text) for text in response.texts] == ["<EMAIL_2>", "moved: <EMAIL_1>", "nobody"]
    assert [(each.token, plain(each.value)) for each in response.masked] == [("<EMAIL_2>", "bob@example.com")]
