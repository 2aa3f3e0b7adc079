"""Users' modules are found, and their edits, whatever else happens in the folder."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from astromesh_core.errors import InvalidInput
from astromesh_core.user_code.modules import Modules


@pytest.fixture
def modules(tmp_path: Path) -> Iterator[Modules]:
    (tmp_path / "one.py").write_text("def said(): return 'one'\n")
    opened = Modules(tmp_path, seconds=map(float, count()).__next__)
    yield opened
    opened.close()


def edit(modules: Modules, path: Path, text: str) -> None:
    path.write_text(text)
    modules.refresh()


def test_an_editors_link_to_nowhere_disturbs_nobody(tmp_path: Path, modules: Modules) -> None:
    (tmp_path / ".#one.py").symlink_to("somebody@a-host.1234")
    Modules(tmp_path).close()
    edit(modules, tmp_path / "one.py", "def said(): return 'uno!'\n")
    assert modules.find("one:said")() == "uno!"


def test_edits_are_taken_up_after_a_module_was_renamed(tmp_path: Path, modules: Modules) -> None:
    modules.find("one:said")
    (tmp_path / "one.py").rename(tmp_path / "two.py")
    modules.refresh()
    assert modules.find("two:said")() == "one"
    edit(modules, tmp_path / "two.py", "def said(): return 'two!'\n")
    assert modules.find("two:said")() == "two!"
    with pytest.raises(InvalidInput, match="one cannot be imported"):
        modules.find("one:said")


def test_an_edit_that_cannot_be_imported_leaves_the_last_good_version(tmp_path: Path, modules: Modules) -> None:
    modules.find("one:said")
    edit(modules, tmp_path / "one.py", "def said(:\n")
    assert modules.find("one:said")() == "one"
