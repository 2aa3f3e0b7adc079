"""Files as a tool: what of them is read, and that no path and no link leads out of the declared roots."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from pathlib import Path

import orjson
import pytest

from astromesh_testing.contracts.placement import Placement
from astromesh_tools.builtin.read_file import MOST_BYTES

from .serving import Mesh, failed, running

SECRET = "the key of the mesh"


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    docs = tmp_path / "config" / "docs"
    (docs / "guides").mkdir(parents=True)
    (docs / "guides" / "prices.md").write_text("one\ntwo\nthree\n")
    (docs / "empty.txt").touch()
    (docs / "image.png").write_bytes(b"\x89PNG\r\n")
    (docs / "nul.txt").write_bytes(b"a\0b")
    (tmp_path / "config" / "providers.yaml").write_text(SECRET)
    (tmp_path / "config" / "docs-of-others").mkdir()
    (tmp_path / "config" / "docs-of-others" / "secret").write_text(SECRET)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "secret").write_text(SECRET)
    return docs


@pytest.fixture
async def mesh(tmp_path: Path, placement: Placement) -> AsyncGenerator[Mesh]:
    async with running(tmp_path / "tools", placement) as mesh:
        yield mesh


def reading(*roots: str | Path) -> dict[str, object]:
    return {"name": "read_file", "type": "builtin", "config": {"roots": [str(root) for root in roots]}}


def asking(**arguments: object) -> str:
    return orjson.dumps(arguments).decode()


async def test_lines_of_a_file_are_read(mesh: Mesh, docs: Path) -> None:
    agent = mesh.agents.add(reading("docs"))
    path = "guides/prices.md"
    assert await mesh.output(agent, "read_file", asking(path=path)) == "one\ntwo\nthree"
    assert await mesh.output(agent, "read_file", asking(path=str(docs / path))) == "one\ntwo\nthree"
    first = await mesh.output(agent, "read_file", asking(path=path, limit=2))
    assert first == "one\ntwo\n[lines 1 to 2 of 3; go on with offset: 3]"
    assert await mesh.output(agent, "read_file", asking(path=path, offset=3)) == "three\n[lines 3 to 3 of 3]"
    assert failed(await mesh.call(agent, "read_file", asking(path=path, offset=4)))[1] == "offset: the file has 3 lines"


async def test_folders_are_listed_without_what_leads_out(mesh: Mesh, docs: Path) -> None:
    (docs / "out").symlink_to(docs.parent / "providers.yaml")
    agent = mesh.agents.add(reading("docs"))
    listed = "empty.txt\nguides/\nimage.png\nnul.txt"
    assert await mesh.output(agent, "read_file", "{}") == listed
    assert await mesh.output(agent, "read_file", asking(path="guides")) == "prices.md"


async def test_several_roots_are_searched_in_their_order(mesh: Mesh, docs: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    (other / "guides").mkdir(parents=True)
    (other / "guides" / "prices.md").write_text("of the other")
    (other / "only.md").write_text("here")
    agent = mesh.agents.add(reading("docs", other))
    assert await mesh.output(agent, "read_file", "{}") == f"{docs}/\n{other}/"
    assert await mesh.output(agent, "read_file", asking(path="only.md")) == "here"
    assert await mesh.output(agent, "read_file", asking(path="guides/prices.md")) == "one\ntwo\nthree"


@pytest.mark.parametrize(
    "path",
    [
        "../providers.yaml",
        "guides/../../providers.yaml",
        "../docs-of-others/secret",
        "/etc/passwd",
        "{folder}/config/providers.yaml",
        "out",
        "away/providers.yaml",
        "..",
        "../nowhere",
    ],
)
async def test_nothing_outside_of_the_roots_is_read(mesh: Mesh, docs: Path, tmp_path: Path, path: str) -> None:
    (docs / "out").symlink_to("../providers.yaml")
    (docs / "away").symlink_to(docs.parent)
    agent = mesh.agents.add(reading("docs"))
    response = await mesh.call(agent, "read_file", asking(path=path.format(folder=tmp_path)))
    assert failed(response)[0] == "denied"
    assert SECRET not in str(response)


async def test_the_meshs_own_data_is_never_read(mesh: Mesh, docs: Path, tmp_path: Path) -> None:
    agent = mesh.agents.add(reading(tmp_path))
    assert await mesh.output(agent, "read_file", asking(path="config/docs/guides")) == "prices.md"
    assert failed(await mesh.call(agent, "read_file", asking(path="data/secret")))[0] == "denied"
    assert "data" not in await mesh.output(agent, "read_file", "{}")


async def test_a_link_inside_the_roots_is_followed(mesh: Mesh, docs: Path) -> None:
    (docs / "latest.md").symlink_to("guides/prices.md")
    assert await mesh.output(mesh.agents.add(reading("docs")), "read_file", asking(path="latest.md")) == (
        "one\ntwo\nthree"
    )


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("image.png", "no text in UTF-8"),
        ("nul.txt", "is no text"),
        ("large", f"a file may have {MOST_BYTES}"),
        ("pipe", "no file that may be read"),
        ("guides/prize.md", "there is no 'guides/prize.md'"),
        ("empty.txt/x", "there is no"),
        ("loop", "loop"),
        ("a\0b", "no name has"),
        ("x" * 3000, "x"),
    ],
)
async def test_what_cannot_be_read_is_told(mesh: Mesh, docs: Path, path: str, error: str) -> None:
    with (docs / "large").open("wb") as large:
        large.truncate(MOST_BYTES + 1)
    os.mkfifo(docs / "pipe")
    (docs / "loop").symlink_to("loop")
    response = await mesh.call(mesh.agents.add(reading("docs")), "read_file", asking(path=path))
    assert response.HasField("failure"), response
    assert error in failed(response)[1]
    assert failed(response)[0] in ("invalid-input", "not-found", "denied")


async def test_an_empty_file_and_a_long_line_are_told(mesh: Mesh, docs: Path) -> None:
    (docs / "long").write_text("x" * 5_000 + "\ny")
    agent = mesh.agents.add(reading("docs"))
    assert await mesh.output(agent, "read_file", asking(path="empty.txt")) == "[the file is empty]"
    shown = await mesh.output(agent, "read_file", asking(path="long"))
    assert shown == "x" * 2_000 + " [3000 more characters of this line]\ny"
