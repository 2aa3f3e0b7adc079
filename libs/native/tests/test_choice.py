"""Which implementation is picked: the extension of the same version, else the twins, and always a reason."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from astromesh_native.choice import EXTENSION, INTERFACE, choose


def extension(version: str, interface: int) -> ModuleType:
    module = ModuleType(EXTENSION)
    module.__dict__.update(VERSION=version, INTERFACE=interface)
    return module


@pytest.mark.parametrize("setting", ["off", "OFF", "0", "no", "false "])
def test_a_setting_keeps_to_the_twins(setting: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, EXTENSION, extension("0.1.0", INTERFACE))
    choice = choose(setting)
    assert (choice.rust, choice.name) == (False, "python")
    assert setting.strip() in choice.reason


def test_an_extension_of_the_same_version_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, EXTENSION, extension("0.1.0", INTERFACE))
    assert choose("").rust
    assert choose("").name == "rust"


@pytest.mark.parametrize(("version", "interface"), [("0.0.9", INTERFACE), ("0.1.0", INTERFACE + 1)])
def test_an_extension_of_another_version_is_left_alone(
    version: str, interface: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, EXTENSION, extension(version, interface))
    choice = choose("")
    assert not choice.rust
    assert version in choice.reason


def test_without_the_extension_the_twins_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, EXTENSION, None)
    assert not choose("").rust
    assert choose("").reason
