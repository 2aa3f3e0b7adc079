"""The extractive provider searches first, quotes what is near with its source, and is honest about the rest."""

import orjson
import pytest

from astromesh.v1.values_pb2 import ToolSpec
from astromesh_core.errors import InvalidInput
from astromesh_core.events.contents import plain
from astromesh_router.calls import Calls
from astromesh_router.candidates import Candidate
from astromesh_router.dialects.extractive import NO_TOOL, NOTE, NOTHING_NEAR, question_name

from .asking import ADD, SEARCH, asking, called, complete, result, system, user

EXTRACTIVE = Candidate("extractive", "extractive", "extractive")
QUESTION = "How does the event log keep runs durable?"
PASSAGES = orjson.dumps(
    {
        "passages": [
            {
                "source": "architecture.md",
                "text": "# The log\n\nThe event log keeps every run durable: each commit is fsynced. Is it fast?",
                "score": 0.8,
                "start": 0,
                "end": 90,
            },
            {"source": "colours.md", "text": "The sky over the harbour was the colour of television."},
        ]
    }
).decode()


async def test_searches_with_the_users_question_first(calls: Calls) -> None:
    request = asking(system("Be brief."), user("before"), user(QUESTION), tools=[ADD, SEARCH])
    completion = (await complete(calls, request, EXTRACTIVE)).completion
    (call,) = completion.message.tool_calls
    assert (call.name, call.id) == ("search_docs", "call_1_1")
    assert orjson.loads(plain(call.arguments)) == {"query": QUESTION}
    assert completion.finish_reason == "tool_calls"


async def test_quotes_the_nearest_sentence_with_its_source_in_words(calls: Calls) -> None:
    request = asking(
        user(QUESTION), called("search_docs", "{}", "c1"), result("search_docs", PASSAGES, "c1"), tools=[SEARCH]
    )
    gathered = await complete(calls, request, EXTRACTIVE)
    assert (
        gathered.text == f"The event log keeps every run durable: each commit is fsynced. [architecture.md]\n\n{NOTE}"
    )
    assert len(gathered.texts) == len(gathered.text.split())
    assert plain(gathered.completion.message.content) == gathered.text
    assert gathered.completion.charge.usage.estimated


async def test_says_so_when_nothing_is_near_enough(calls: Calls) -> None:
    request = asking(user("Who won the cup?"), called("search_docs", "{}", "c"), result("search_docs", PASSAGES, "c"))
    assert (await complete(calls, request, EXTRACTIVE)).text == NOTHING_NEAR


async def test_results_of_an_earlier_question_do_not_count(calls: Calls) -> None:
    request = asking(
        user(QUESTION),
        called("search_docs", "{}", "c"),
        result("search_docs", PASSAGES, "c"),
        user("And now?"),
        tools=[SEARCH],
    )
    completion = (await complete(calls, request, EXTRACTIVE)).completion
    assert orjson.loads(plain(completion.message.tool_calls[0].arguments)) == {"query": "And now?"}


async def test_without_a_retrieval_tool_it_says_what_it_cannot_do(calls: Calls) -> None:
    assert (await complete(calls, asking(user(QUESTION), tools=[ADD]), EXTRACTIVE)).text == NO_TOOL


@pytest.mark.parametrize("rubbish", ["", "{", "[]", '{"passages": 7}', '{"passages": [7, {"text": null}]}'])
async def test_results_of_any_shape_are_survived(calls: Calls, rubbish: str) -> None:
    request = asking(user(QUESTION), called("search_docs", "{}", "c"), result("search_docs", rubbish, "c"))
    assert (await complete(calls, request, EXTRACTIVE)).text == NOTHING_NEAR


async def test_a_result_that_is_plain_text_is_quoted_under_the_tools_name(calls: Calls) -> None:
    text = "The event log keeps runs durable with one fsync a commit."
    request = asking(user(QUESTION), called("look", "{}", "c"), result("look", text, "c"))
    assert (await complete(calls, request, EXTRACTIVE)).text.startswith(f"{text} [look]")


@pytest.mark.parametrize(
    ("schema", "name"),
    [
        ('{"properties":{"top_k":{"type":"integer"},"question":{"type":"string"}}}', "question"),
        ('{"properties":{"what":{"type":"string"}},"required":["what"]}', "what"),
        ("{}", "query"),
        ("rubbish", "query"),
    ],
)
def test_the_question_goes_where_the_schema_wants_it(schema: str, name: str) -> None:
    assert question_name(ToolSpec(name="s", parameters_json=schema)) == name


async def test_a_schema_is_nothing_that_quotes_can_match(calls: Calls) -> None:
    request = asking(user("what is a saga?"))
    request.output_schema_json = '{"type":"object"}'
    with pytest.raises(InvalidInput, match="can match no schema"):
        await complete(calls, request, EXTRACTIVE)
