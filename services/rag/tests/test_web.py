"""Asking for pages, from servers on loopback that record what they are asked."""

from __future__ import annotations

import asyncio
import gzip
import socket
from pathlib import Path

import pytest
from aiohttp.abc import ResolveResult

from astromesh.v1.values_pb2 import ResourceRef
from astromesh_core import outbound
from astromesh_core.resources.rag_pipeline import RAGPipelineSpec, UrlSource
from astromesh_rag.documents import Gone, Listing, Unchanged
from astromesh_rag.folders import MOST_BYTES
from astromesh_rag.pages import list_pages
from astromesh_rag.pipeline import Models, Pipeline
from astromesh_rag.readers.text import Unreadable
from astromesh_rag.web import Answer, Conditions, Web
from astromesh_testing.embedding import WordEmbedder
from astromesh_vectors.faiss_store.store import FaissStore
from astromesh_vectors.minilm.tokens import MiniLMWords

from .site import MARKDOWN, Site, site

__all__ = ["site"]


async def get(url: str, *, conditions: Conditions | None = None, allow_private: bool = True) -> Answer:
    return await Web(pause=0.0).get(url, conditions or Conditions(), allow_private=allow_private)


async def test_a_page_comes_with_its_type_its_charset_and_its_tag(site: Site) -> None:
    headers = {"Content-Type": "text/html; charset=iso-8859-1", "ETag": '"1"', "Last-Modified": "Mon, 01 Jan 2026"}
    answer = await get(site.page("/faq", b"<p>caf\xe9", headers=headers))
    assert answer == Answer("/faq", b"<p>caf\xe9", "text/html", "iso-8859-1", '"1"', "Mon, 01 Jan 2026")
    assert site.asked == ["/robots.txt", "/faq"]
    assert site.headers["User-Agent"].startswith("astromesh")


async def test_a_known_page_is_asked_for_by_its_tag(site: Site) -> None:
    url = site.page("/faq", status=304)
    with pytest.raises(Unchanged):
        await get(url, conditions=Conditions('"1"', "Mon, 01 Jan 2026"))
    assert (site.headers["If-None-Match"], site.headers["If-Modified-Since"]) == ('"1"', "Mon, 01 Jan 2026")


@pytest.mark.parametrize(
    ("status", "headers", "body", "reason"),
    [
        (500, MARKDOWN, b"", "its server answers 500"),
        (403, MARKDOWN, b"", "its server answers 403"),
        (200, MARKDOWN, b"x" * (MOST_BYTES + 1), "bytes; a document may"),
        (200, MARKDOWN | {"Content-Encoding": "gzip"}, gzip.compress(bytes(20_000_000)), "has more than"),
        (302, {"Location": "/faq"}, b"", "redirected more than 5 times"),
        (302, {"Location": "file:///etc/passwd"}, b"", "no address of a server"),
        (302, {"Location": "http://me:secret@127.0.0.1/"}, b"", "no address of a server"),
        (302, {"Location": ""}, b"", "redirected more than 5 times"),
    ],
)
async def test_what_is_no_page_of_a_bearable_size_is_refused(
    site: Site, status: int, headers: dict[str, str], body: bytes, reason: str
) -> None:
    with pytest.raises(Unreadable, match=reason):
        await get(site.page("/faq", body, status, headers))


async def test_a_page_that_its_server_knows_no_more_is_gone(site: Site) -> None:
    for status in (404, 410):
        with pytest.raises(Gone):
            await get(site.page("/faq", status=status))


async def test_redirects_are_followed_one_by_one(site: Site) -> None:
    site.page("/new", b"# Here")
    url = site.page("/old", status=301, headers={"Location": "/new#part"})
    assert (await get(url)).body == b"# Here"
    assert site.asked == ["/robots.txt", "/old", "/new"]


async def test_robots_are_heeded_and_asked_for_once(site: Site) -> None:
    rules = b"User-agent: *\nDisallow: /\n\nUser-agent: astromesh\nDisallow: /private\n"
    site.page("/robots.txt", rules, headers={"Content-Type": "text/plain"})
    open_page, closed_page = site.page("/faq", b"x"), site.page("/private/faq", b"x")
    site.page("/sly", status=302, headers={"Location": "/private/faq"})
    asker = Web(pause=0.0)
    assert (await asker.get(open_page, Conditions(), allow_private=True)).body == b"x"
    for url in (closed_page, site.url + "/sly"):
        with pytest.raises(Unreadable, match=r"robots\.txt"):
            await asker.get(url, Conditions(), allow_private=True)
    assert site.asked == ["/robots.txt", "/faq", "/sly"]


async def test_a_host_that_fails_to_tell_its_robots_is_asked_for_nothing(site: Site) -> None:
    site.page("/robots.txt", status=503)
    with pytest.raises(Unreadable, match="answers 503"):
        await get(site.page("/faq", b"x"))
    assert site.asked == ["/robots.txt"]


async def test_a_host_is_asked_at_an_even_pace(site: Site) -> None:
    site.page("/robots.txt", b"User-agent: *\nCrawl-delay: 0.3\n", headers={"Content-Type": "text/plain"})
    asker, loop = Web(pause=0.05), asyncio.get_running_loop()
    url, begun = site.page("/faq", b"x"), loop.time()
    await asyncio.gather(*(asker.get(url, Conditions(), allow_private=True) for _ in range(3)))
    assert loop.time() - begun >= 0.6


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "127.1", "2130706433", "0x7f.1", "169.254.169.254"],
)
async def test_addresses_inside_the_network_are_refused(host: str) -> None:
    with pytest.raises(Unreadable, match=r"inside the network|no address of a server"):
        await get(f"http://{host}:9/", allow_private=False)


async def test_a_name_is_looked_up_and_judged_at_each_connection(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    names: list[str] = []
    port = int(site.url.rsplit(":", 1)[1])

    async def look_up(_: object, host: str, *__: object) -> list[ResolveResult]:
        names.append(host)
        family = socket.AF_INET
        return [ResolveResult(hostname=host, host="127.0.0.1", port=port, family=family, proto=0, flags=0)]

    monkeypatch.setattr("aiohttp.ThreadedResolver.resolve", look_up)
    # A name server that answers with a public address first and with an inner one next. There is one look-up for each
    # connection, and its answer is where the connection goes.
    judged = iter([True, False])

    def judge(_: str) -> bool:
        return next(judged)

    monkeypatch.setattr(outbound, "is_public", judge)
    site.page("/faq", status=302, headers={"Location": f"http://rebound.example:{port}/other"})
    with pytest.raises(Unreadable, match=r"rebound\.example is an address inside the network"):
        await get(f"http://pages.example:{port}/faq", allow_private=False)
    assert site.asked == ["/robots.txt", "/faq"]
    assert names == ["pages.example", "rebound.example"]


async def test_a_redirect_inside_is_refused(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def here_alone(address: str) -> bool:
        return address == "127.0.0.1"

    monkeypatch.setattr(outbound, "is_public", here_alone)
    with pytest.raises(Unreadable, match=r"169\.254\.169\.254 is an address inside"):
        await get(
            site.page("/faq", status=302, headers={"Location": "http://169.254.169.254/latest/meta-data/"}),
            allow_private=False,
        )


async def test_a_server_that_does_not_answer_is_refused(site: Site) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    with pytest.raises(Unreadable, match="cannot be fetched"):
        await get(f"http://127.0.0.1:{port}/")


def listing(*urls: str) -> Listing:
    found = Listing(complete=True)
    source = UrlSource(type="url", urls=urls, allow_private=True)
    list_pages(Web(pause=0.0), [source], found)
    return found


async def test_pages_are_taken_in_and_cost_nothing_while_they_stand(site: Site, tmp_path: Path) -> None:
    embedder = WordEmbedder()
    store = FaissStore(tmp_path, model=embedder.name, dimension=embedder.dimension)
    models = Models(embedder, MiniLMWords())
    pipeline = Pipeline(ResourceRef(name="docs"), RAGPipelineSpec(), store, models, tmp_path)
    tagged = MARKDOWN | {"ETag": '"1"'}
    urls = [
        site.page("/owls", b"# Owls\n\nOwls hunt.", headers=tagged),
        site.page("/storks.csv", b"a\n1", headers={"Content-Type": "text/plain"}),
    ]
    summary = await pipeline.ingest_all(listing(*urls, site.page("/x", b"x", headers={"Content-Type": "image/png"})))
    assert (summary.added, list(summary.refused)) == (
        2,
        [f"{site.url}/x: is of media type 'image/png', which nobody reads"],
    )
    (hit,) = await pipeline.query("owls hunt", 1)
    assert (hit.source, list(hit.headings)) == (urls[0], ["Owls"])

    site.page("/owls", status=304)
    embedded = len(embedder.embedded)
    assert (await pipeline.ingest_all(listing(*urls))).unchanged == 2
    assert len(embedder.embedded) == embedded
    assert site.headers.get("If-None-Match") is None  # of the second page, which has no tag
    site.page("/owls", b"# Owls\n\nOwls hunt.", headers=MARKDOWN | {"ETag": '"2"'})
    assert (await pipeline.ingest_all(listing(*urls))).unchanged == 2

    # Other settings: what stands in the store is of no use, so the page is asked for whole.
    pipeline.spec = RAGPipelineSpec.model_validate({"chunking": {"chunk_size": 9, "overlap": 0}})
    assert (await pipeline.ingest_all(listing(*urls))).replaced == 2

    site.page("/owls", status=410)
    summary = await pipeline.ingest_all(listing(*urls))
    assert (summary.removed, summary.unchanged) == (1, 1)
    site.page("/storks.csv", status=500)
    assert list((await pipeline.ingest_all(listing(urls[1]))).refused) == [
        f"{urls[1]}: is not sent: its server answers 500"
    ]
    assert (await pipeline.figures()).documents == 1
    assert (await pipeline.ingest_all(listing(urls[0]))).removed == 1
    await store.close()
    await models.parser.close()
