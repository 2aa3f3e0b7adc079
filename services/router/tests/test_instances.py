"""Providers of users' classes are made once, hold up nobody, and are closed when nobody uses them any more."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest

from astromesh_core.errors import TimedOut
from astromesh_core.telemetry.telemetry import Telemetry
from astromesh_core.user_code.modules import Modules
from astromesh_router.app import open_calls
from astromesh_router.calls import Calls
from astromesh_router.candidates import Patience, Pool
from astromesh_router.dialects import instances
from astromesh_router.dialects.custom import CustomProviders
from astromesh_router.dialects.instances import MAKING_SECONDS
from astromesh_testing.waiting import until

from .asking import KEY, asking, complete, no_embedder, user
from .users_classes import SHOUT, named


async def test_an_edit_is_taken_up(calls: Calls, tmp_path: Path, custom: CustomProviders) -> None:
    modules = Modules(tmp_path, seconds=iter(float(second) for second in range(1_000)).__next__)
    providers = CustomProviders(modules, {"LLM_KEY": KEY})
    async with open_calls(no_embedder, {}, Telemetry(), custom=providers) as opened:
        assert (await complete(opened, asking(user("hi")), named("Shout"))).text == "HI !"
        (tmp_path / "loud.py").write_text(SHOUT.replace("upper()", "lower()") + "\n")
        assert (await complete(opened, asking(user("Hi")), named("Shout"))).text == "hi !"
    await providers.close()


async def test_a_class_that_hangs_as_it_is_made_holds_up_nobody_else(
    calls: Calls, custom: CustomProviders, tmp_path: Path
) -> None:
    with pytest.raises(TimedOut, match="no first token"):
        await complete(calls, asking(), named("Slow"))
    async with asyncio.timeout(MAKING_SECONDS / 2):
        assert (await complete(calls, asking(user("hi")), named("Shout"))).text == "HI !"
    (tmp_path / "go").touch()
    assert (await complete(calls, asking(user("hi")), named("Slow"))).text == "HI !"
    assert (tmp_path / "made").read_text() == "x", "made once, whoever waited for it"


async def test_who_can_do_without_a_class_waits_for_it_but_once(
    custom: CustomProviders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(instances, "MAKING_SECONDS", 1.0)
    slow = replace(named("Slow"), tools=None)
    first = await custom.introduced(Pool((slow, named("Shout"))))
    assert [each.tools for each in first.candidates] == [None, False]
    async with asyncio.timeout(0.9):
        again = await custom.introduced(Pool((slow,)))
    assert again.candidates == (slow,)
    (tmp_path / "go").touch()


async def test_a_class_that_empties_its_settings_is_made_once_all_the_same(calls: Calls, tmp_path: Path) -> None:
    greedy = named("Greedy", mark="?")
    for _ in range(2):
        assert (await complete(calls, asking(user("hi")), greedy)).text == "HI ?"
    assert (tmp_path / "made").read_text() == "x"
    assert greedy.parameters == {"mark": "?"}


async def test_an_edit_closes_a_provider_when_its_last_call_has_ended(tmp_path: Path, custom: CustomProviders) -> None:
    modules = Modules(tmp_path, seconds=iter(float(second) for second in range(1_000)).__next__)
    providers = CustomProviders(modules, {"LLM_KEY": KEY})
    async with open_calls(no_embedder, {}, Telemetry(), custom=providers) as opened:
        patient = replace(named("Closing"), patience=Patience())
        async with aclosing(opened.complete(Pool((patient,)), asking())) as parts:
            assert (await anext(parts)).text_delta == "one "
            (tmp_path / "loud.py").write_text(SHOUT + "\n")
            assert (await complete(opened, asking(user("hi")), named("Shout"))).text == "HI !"
            await asyncio.sleep(0.05)
            assert not (tmp_path / "closed").exists(), "the call goes on"
            (tmp_path / "go").touch()
            assert [part.WhichOneof("part") async for part in parts] == ["text_delta", "completion"]

        async def closed() -> bool:
            return (tmp_path / "closed").exists()

        await until(closed)
    await providers.close()


async def test_of_many_settings_the_ones_used_last_are_kept(
    custom: CustomProviders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(instances, "MOST_KEPT", 2)
    closing = named("Closing")
    await custom.models(closing)
    for number in range(3):
        await custom.models(named("Shout", mark=str(number)))

    async def closed() -> bool:
        return (tmp_path / "closed").exists()

    await until(closed)
