"""The process that documents are parsed in: what it answers, and what becomes of it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncGenerator

import pytest

from astromesh_rag.parsing import Parser, Raw
from astromesh_rag.readers.text import Unreadable

from .made_files import pdf


@pytest.fixture
async def parser() -> AsyncGenerator[Parser]:
    parser = Parser(seconds=2)
    yield parser
    await parser.close()


def process_of(parser: Parser) -> int:
    process = parser._process  # pyright: ignore[reportPrivateUsage] - what the test kills
    assert process is not None
    return process.pid


async def test_documents_are_parsed_one_after_the_other_by_one_process(parser: Parser) -> None:
    texts = await asyncio.gather(*(parser.text(Raw("pdf", pdf(f"Page {number}"))) for number in range(3)))
    assert [text.text for text in texts] == ["Page 0", "Page 1", "Page 2"]
    first = process_of(parser)
    assert (await parser.text(Raw("csv", b"a\n1"))).text == "a: 1"
    with pytest.raises(Unreadable, match="damaged"):
        await parser.text(Raw("pdf", b"rubbish"))
    assert process_of(parser) == first


async def test_plain_text_needs_no_process(parser: Parser) -> None:
    assert (await parser.text(Raw("markdown", b"# Title"))).markdown
    assert parser._process is None  # pyright: ignore[reportPrivateUsage] - that there is none is the promise


async def test_a_document_that_hangs_costs_itself_alone(parser: Parser) -> None:
    await parser.text(Raw("csv", b"a\n1"))
    os.kill(process_of(parser), signal.SIGSTOP)
    with pytest.raises(Unreadable, match="longer than 2 s"):
        await parser.text(Raw("html", b"<p>first"))
    assert (await parser.text(Raw("html", b"<p>next"))).text == "next\n"


async def test_a_document_that_ends_the_process_costs_itself_alone(parser: Parser) -> None:
    await parser.text(Raw("csv", b"a\n1"))
    os.kill(process_of(parser), 9)
    with pytest.raises(Unreadable, match="ends the process"):
        await parser.text(Raw("csv", b"a\n1"))
    assert (await parser.text(Raw("csv", b"a\n2"))).text == "a: 2"


async def test_a_cancelled_document_is_no_answer_to_the_next_one(parser: Parser) -> None:
    large = asyncio.create_task(parser.text(Raw("csv", b"a\n" + b"1\n" * 200_000)))
    await asyncio.sleep(0.05)
    large.cancel()
    with pytest.raises(asyncio.CancelledError):
        await large
    assert (await parser.text(Raw("csv", b"a\n2"))).text == "a: 2"


async def test_the_process_sees_no_secret(parser: Parser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    await parser.text(Raw("csv", b"a\n1"))
    with open(f"/proc/{process_of(parser)}/environ", "rb") as environment:  # noqa: ASYNC230 - the kernel answers at once
        assert b"secret" not in environment.read()
