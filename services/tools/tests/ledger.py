"""The users' module that the tests of bounds call. Copied into a tools folder, never imported from here."""

import asyncio

from astromesh_core.errors import NotFound, Unavailable

made: list[str] = []
under_way = 0
most = 0
broken = False


async def work(what: str = "", seconds: float = 0.0) -> str:
    global under_way, most
    made.append(what)
    under_way += 1
    most = max(most, under_way)
    try:
        await asyncio.sleep(seconds)
    finally:
        under_way -= 1
    if broken:
        raise Unavailable("the shop is shut")
    if what == "nothing":
        raise NotFound("there is nothing")
    return f"{what} {len(made)}"


def figures() -> dict[str, object]:
    return {"made": made, "most": most}


def broke(is_so: bool) -> None:
    global broken
    broken = is_so


def long(letters: str = "é", count: int = 200_000) -> str:
    return letters * count
