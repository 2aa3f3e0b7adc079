"""Runs LangGraph's ReAct agent; started with its own environment's interpreter by rivals.py.

loop.py ENDPOINT TOOLS AT_ONCE RUNS sqlite:FILE|postgres:CONNECTION
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.prebuilt import create_react_agent

WARM = 20
CONNECTIONS = 20
"""Of the pool, as LangGraph's documentation has it."""


@tool
def add(a: int, b: int = 1) -> int:
    """Adds two numbers."""
    return a + b


@asynccontextmanager
async def saver_of(database: str) -> AsyncIterator[BaseCheckpointSaver]:
    """The saver of each environment: only what is installed can be imported."""
    kind, _, place = database.partition(":")
    if kind == "sqlite":
        from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

        async with AsyncSqliteSaver.from_conn_string(place) as saver:
            yield saver
        return
    from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
    from psycopg.rows import dict_row
    from psycopg_pool import AsyncConnectionPool

    given = {"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row}
    async with AsyncConnectionPool(place, min_size=CONNECTIONS, max_size=CONNECTIONS, kwargs=given) as pool:
        saver = AsyncPostgresSaver(pool)
        await saver.setup()
        yield saver


async def main(endpoint: str, tools: int, at_once: int, runs: int, database: str) -> None:
    """Prints the wall time and the time of each run as JSON."""
    model = ChatOpenAI(model="stub-1", base_url=endpoint, api_key="none", streaming=True)
    async with saver_of(database) as saver:
        agent = create_react_agent(model, [add] if tools else [], checkpointer=saver)
        each: list[float] = []

        async def worker(numbers: Iterator[int]) -> None:
            for _ in numbers:
                begun = time.perf_counter()
                thread = {"configurable": {"thread_id": uuid.uuid4().hex}}
                asked = {"messages": [("user", "What is two and two?")]}
                reply = await agent.ainvoke(asked, thread, durability="sync")
                assert "forty-two" in reply["messages"][-1].content
                each.append(time.perf_counter() - begun)

        async def all_of(count: int) -> None:
            numbers = iter(range(count))
            await asyncio.gather(*(worker(numbers) for _ in range(at_once)))

        await all_of(WARM)
        each.clear()
        begun = time.perf_counter()
        await all_of(runs)
        print(json.dumps({"wall": time.perf_counter() - begun, "each": each}))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], *map(int, sys.argv[2:5]), sys.argv[5]))
