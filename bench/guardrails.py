"""Guardrails: how well they find what they should in labelled texts, how long a chain of them takes, and its memory."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from figures import Figure
from guarded_chain import Chain
from guarded_texts import ALLOWED, BLOCKED, TOPICS, UNSEEN, Judged, Tally, claims, injections, questions, tally
from labelled_texts import Found, labelled, languages, score
from mixed_text import mixed_text
from processes import cores
from rivals import NotMeasured
from scanning import COMPARED, COUNTRIES, Texts, presidio

from astromesh.v1.guardrails_pb2 import GUARDRAIL_STAGE_OUTPUT, GuardrailStage
from astromesh.v1.values_pb2 import VERDICT_ACTION_ALLOW, Passage
from astromesh_core.events.contents import text_content
from astromesh_core.resources.guardrails import GuardrailsSpec
from astromesh_core.user_code.modules import Modules
from astromesh_guardrails.classifier import trained
from astromesh_guardrails.likeness import Likenesses
from astromesh_guardrails.numbering import numbering_plan
from astromesh_guardrails.policy import Policy, compile_policy
from astromesh_guardrails.sources import BUILT_IN, Sources
from astromesh_native.choice import CHOICE
from astromesh_native.personal_data import scanner
from astromesh_native.spans import ENTITIES
from astromesh_vectors.embedders.opening import Embedders

FOUND = "Guardrails: what is found in labelled texts, precision / recall"
CHAIN = "Guardrails: a chain of five input rules that ask no model"
MEMORY = "Guardrails: memory over many guarded messages of 1 KiB"
OURS = "ours, built-in MiniLM"
WITHOUT_MODEL = "ours, without a model"
LANGUAGES = "personal_data_languages"
SIZE, TEXTS = 4_096, 2_000
MESSAGES, SAMPLED, STEPS = 1_000_000, 0.1, 10

_HERE = Path(__file__).parent

Judge = Callable[[str, Sequence[str]], Awaitable[bool]]
"""Whether a rule says anything of a text, given what was retrieved."""


def measure(share: float) -> Iterator[Figure]:
    """What is found, and how long the chain takes."""
    yield from _personal_data()
    yield from asyncio.run(_found())
    yield asyncio.run(_chain(max(100, int(TEXTS * min(share, 1.0)))))


def measure_memory(share: float) -> Iterator[Figure]:
    """RSS after a tenth of the messages and after all of them. Sampled unless `share` is above 1."""
    messages = MESSAGES if share > 1 else max(1_000, int(MESSAGES * SAMPLED * share))
    command = [sys.executable, str(_HERE / "guarding_process.py"), str(messages), str(STEPS)]
    done = subprocess.run(
        ["taskset", "-c", str(cores()[0]), *command], capture_output=True, text=True, check=True, cwd=_HERE
    )
    seen = [json.loads(line) for line in done.stdout.splitlines()]
    for name, after in seen[-1].items():
        first = seen[0].get(name, after)
        told = f"{first / 1e6:.1f} MB after {messages // STEPS:,}, {after / 1e6:.1f} MB after {messages:,} messages"
        yield Figure(MEMORY, name, _native(), f"{told} ({(after / first - 1) * 100:+.1f} %)", "< 5 % over 1,000,000")


def _native() -> str:
    return "ours, Rust" if CHOICE.rust else "ours, Python"


def _personal_data() -> Iterator[Figure]:
    texts, spoken = labelled(LANGUAGES), languages(LANGUAGES)
    scan = scanner(ENTITIES, [numbering_plan(country) for country in COUNTRIES]).scan
    found = {_native(): [[Found(*span) for span in scan(text.text)] for text in texts]}
    name = "Presidio 2.2.366, pattern recognisers"
    try:
        found[name] = [list(one) for one in presidio(Texts("x" * 1_000, ["x"], texts)).found]
    except NotMeasured as error:
        yield Figure(FOUND, "personal data", name, f"not measured: {error}")
    for whose, findings in found.items():
        for language in dict.fromkeys(spoken):
            chosen = [place for place, one in enumerate(spoken) if one == language]
            told = score([texts[it] for it in chosen], [findings[it] for it in chosen], COMPARED)
            yield Figure(FOUND, f"personal data, {language}, {len(chosen)} texts, unseen", whose, str(told))


async def _found() -> list[Figure]:
    figures = list[Figure]()
    async with _opened() as sources:
        for seen in ("", UNSEEN):
            told = "unseen" if seen else "tuned on"
            figures += [
                Figure(FOUND, f"attacks on the prompt, {counted} texts, {told}", whose, str(made))
                for whose, counted, made in await _injections(sources, seen)
            ]
            figures += [
                Figure(FOUND, f"{what}, {counted} texts, {told}", OURS, str(made))
                for what, counted, made in (*await topics(sources, seen), await grounding(sources, seen))
            ]
        what, counted, made = await trained_topics(sources)
        figures.append(Figure(FOUND, f"{what}, {counted} texts, unseen", OURS, str(made)))
    return figures


@asynccontextmanager
async def _opened() -> AsyncGenerator[Sources]:
    with tempfile.TemporaryDirectory() as made:
        modules = Modules(Path(made) / "embedders")
        embedders = Embedders(Path(made), modules, os.environ)
        try:
            yield Sources(Likenesses(embedders.of), Path(made))
        finally:
            await embedders.close()
            modules.close()


async def _injections(sources: Sources, seen: str) -> list[tuple[str, int, Tally]]:
    texts = injections(f"injections{seen}")
    alone = judging({"type": "prompt_injection", "similarity": False}, sources)
    whole = judging({"type": "prompt_injection"}, sources)
    return [
        ("plain re", len(texts), _told_apart(texts, [_PLAIN.search(text.text) is not None for text in texts])),
        (WITHOUT_MODEL, len(texts), _told_apart(texts, [await alone(text.text, ()) for text in texts])),
        (OURS, len(texts), _told_apart(texts, [await whole(text.text, ()) for text in texts])),
    ]


_PLAIN = re.compile(
    r"ignore (all )?(previous|prior|above) (instructions|prompts)|you are now|new instructions:|system prompt|\[INST\]"
    r"|developer mode|jailbreak|pretend (to be|you are)",
    re.IGNORECASE,
)
"""As it stands in tutorials."""


def _told_apart(texts: Sequence[Judged], found: Sequence[bool]) -> Tally:
    return tally([(text.text, text.wanted) for text in texts], found)


async def topics(sources: Sources, seen: str) -> list[tuple[str, int, Tally]]:
    """What each way of declaring topics refuses, of how many questions, and how well."""
    asked = questions(f"topics{seen}")
    results = list[tuple[str, int, Tally]]()
    for field, names in (("blocked_topics", BLOCKED), ("allowed_topics", ALLOWED)):
        declared = [topic for topic in TOPICS if topic["name"] in names]
        judge = judging({"type": "topic_filter", field: declared}, sources)
        refused = [await judge(each.text, ()) for each in asked]
        # What is about no allowed topic is refused.
        wanted = [(each.topic in names) == (names is BLOCKED) for each in asked]
        pairs = list(zip((each.text for each in asked), wanted, strict=True))
        results.append((f"questions refused by {field}", len(asked), tally(pairs, refused)))
    return results


async def trained_topics(sources: Sources) -> tuple[str, int, Tally]:
    """What a classifier refuses of the unseen questions that was trained on the others, of how many, and how well."""
    examples, asked = questions("topics"), questions(f"topics{UNSEEN}")
    embedder = await sources.likenesses.embedder(BUILT_IN)
    vectors = await embedder.embed([each.text for each in examples])
    made = trained(BUILT_IN, vectors, [each.topic for each in examples])
    (sources.config_dir / "topics.json").write_text(made.to_json())
    rule = {"type": "topic_filter", "method": "classifier", "classifier": "topics.json", "blocked_topics": [*BLOCKED]}
    judge = judging(rule, sources)
    refused = [await judge(each.text, ()) for each in asked]
    pairs = [(each.text, each.topic in BLOCKED) for each in asked]
    return "questions refused by a classifier", len(asked), tally(pairs, refused)


async def grounding(sources: Sources, seen: str) -> tuple[str, int, Tally]:
    """What is found unsupported, of how many sentences, and how well."""
    said = claims(f"grounding{seen}")
    judge = judging({"type": "grounding"}, sources)
    found = [await judge(claim.text, claim.passages) for claim in said]
    return "unsupported sentences", len(said), tally([(claim.text, not claim.supported) for claim in said], found)


def judging(rule: Mapping[str, object], sources: Sources) -> Judge:
    """A rule by itself, in the output stage, where every rule may stand."""
    policy: Policy = compile_policy(GuardrailsSpec.model_validate({"output": [rule]}), sources)
    stage: GuardrailStage.ValueType = GUARDRAIL_STAGE_OUTPUT

    async def judge(text: str, passages: Sequence[str]) -> bool:
        retrieved = [Passage(id=str(place), text=text_content(one)) for place, one in enumerate(passages)]
        checked = await policy.check(stage, text, retrieved)
        assert not any(verdict.error_class for verdict in checked.verdicts)
        return any(verdict.action != VERDICT_ACTION_ALLOW for verdict in checked.verdicts)

    return judge


async def _chain(texts: int) -> Figure:
    chain, whole = Chain(), mixed_text(SIZE * texts)
    each = list[float]()
    for place in range(0, len(whole) - SIZE, SIZE):
        begun = time.perf_counter()
        await chain.check(whole[place : place + SIZE])
        each.append(time.perf_counter() - begun)
    each = sorted(each[len(each) // 10 :])
    p50, p99 = (each[int(len(each) * at)] * 1e3 for at in (0.5, 0.99))
    return Figure(CHAIN, "a text of 4 KiB, p50 / p99", _native(), f"{p50:.2f} / {p99:.2f} ms", "p99 ≤ 1 ms")
