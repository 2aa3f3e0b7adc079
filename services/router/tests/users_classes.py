"""Provider classes as users write them, the good and the bad, and candidates that name them."""

from __future__ import annotations

from dataclasses import replace

from astromesh_router.candidates import Candidate

from .asking import KEY, SHORT

SHOUT = """
import asyncio
import time
from pathlib import Path

from astromesh_core.errors import RateLimited
from astromesh_router.provider import Reply, Thought, WrittenCall

HERE = Path(__file__).parent


class Shout:
    def __init__(self, *, model, endpoint, api_key, parameters):
        self.mark = parameters.get("mark", "!")
        self.api_key = api_key

    async def complete(self, request):
        async for part in self.stream(request):
            if isinstance(part, Reply):
                return part

    async def stream(self, request):
        words = request.messages[-1].content.text.upper().split()
        yield Thought("loud")
        for word in words:
            yield word + " "
        yield Reply(" ".join(words) + " " + self.mark, (), "stop", None)

    async def health_check(self):
        return self.api_key == "KEY"

    def supports_tools(self):
        return False

    def estimated_cost(self, input_tokens, output_tokens):
        return input_tokens * 0.001 + output_tokens * 0.002


class Greedy(Shout):
    def __init__(self, *, parameters, **settings):
        self.mark = parameters.pop("mark")
        self.api_key = settings["api_key"]
        with open(HERE / "made", "a") as made:
            made.write("x")


class Busy(Shout):
    async def stream(self, request):
        yield "one "
        raise RateLimited("the queue is full", retry_after=7)


class Broken(Shout):
    async def stream(self, request):
        raise ValueError("no such thing")
        yield


class Endless(Shout):
    async def stream(self, request):
        yield "a"


class Wrong(Shout):
    async def stream(self, request):
        yield 7


class Plain(Shout):
    def stream(self, request):
        return ["a"]


class Unmade:
    def __init__(self, **settings):
        raise OSError("no licence")


class Leaky(Shout):
    async def stream(self, request):
        raise OSError(f"no route to https://host/?key={self.api_key}")
        yield


class Touchy(RateLimited):
    def __init__(self):
        self.message = "by a key KEY"


class Own(Shout):
    async def stream(self, request):
        raise Touchy
        yield


class Messy(Shout):
    async def stream(self, request):
        del request.messages[:]
        try:
            yield Reply("Done.", [], "stop", None)
        finally:
            raise ValueError("while cleaning up")


class Quitter(Shout):
    async def stream(self, request):
        raise asyncio.CancelledError
        yield


class Loose(Shout):
    async def stream(self, request):
        yield Reply("", [WrittenCall("1", "add", {"a": 1})], "done", {"input_tokens": 3})


class Unsure(Shout):
    def supports_tools(self):
        raise ValueError("who knows")

    def estimated_cost(self, input_tokens, output_tokens):
        return float("nan")


class Slow(Shout):
    def __init__(self, **settings):
        super().__init__(**settings)
        with open(HERE / "made", "a") as made:
            made.write("x")
        while not (HERE / "go").exists():
            time.sleep(0.005)


class Closing(Shout):
    async def stream(self, request):
        yield "one "
        while not (HERE / "go").exists():
            await asyncio.sleep(0.005)
        yield Reply("one two", (), "stop", None)

    async def close(self):
        (HERE / "closed").write_text("")


class Half:
    def __init__(self, **settings):
        pass

    def stream(self, request):
        yield
""".replace("KEY", KEY)


def named(name: str, **settings: object) -> Candidate:
    parameters = {"mark": str(settings.get("mark", "!"))}
    declared = Candidate(f"loud:{name}", "custom", "m1", "", parameters, "${LLM_KEY}", patience=SHORT, max_retries=0)
    return replace(declared, priced=False)
