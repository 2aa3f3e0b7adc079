"""What each format becomes, and what of it is refused."""

from __future__ import annotations

import codecs
import time

import pytest

from astromesh_rag.formats import Format, format_of_media_type, format_of_name, read
from astromesh_rag.readers.text import MOST_CHARACTERS, Unreadable

from .made_files import docx, encrypted_pdf, pdf

PAGE = """<!doctype html><html><head><title>Rivers</title><style>p {color: red}</style></head><body>
<header>Site name</header><nav><a href="/">Home</a></nav>
<main><h1>Rivers</h1><p>The <b>Rhine</b> is <a href="/long">long</a>.</p><script>track()</script>
<h2>Small ones</h2><ul><li>Birs</li><li>Wiese</li></ul>
<table><tr><th>Name</th><th>km</th></tr><tr><td>Birs</td><td>73</td></tr></table></main>
<footer>Imprint</footer></body></html>"""


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"\xef\xbb\xbfhello", "hello"),
        (codecs.BOM_UTF16_LE + "Grüße".encode("utf-16-le"), "Grüße"),
        (codecs.BOM_UTF16_BE + "Grüße".encode("utf-16-be"), "Grüße"),
        ("a\u0301 עברית\r\n".encode(), "a\u0301 עברית\r\n"),
        (b"", ""),
    ],
)
def test_text_is_read_by_its_mark_and_else_as_utf_8(data: bytes, text: str) -> None:
    assert read("text", data).text == text


@pytest.mark.parametrize(
    ("format_", "data", "reason"),
    [
        ("text", b"caf\xe9 au lait", "is not UTF-8: byte 3"),
        ("markdown", b"%PDF\0", "zero byte"),
        ("text", b"x" * (MOST_CHARACTERS + 1), "characters; a document may have"),
        ("html", b"<p>caf\xe9", "is not UTF-8"),
        ("html", b'<meta charset="nonsense"><p>x', "charset that is not known"),
        ("csv", b"a,b\n\0", "zero byte"),
        ("json", b'{"a": ', "is no JSON"),
        ("json", b"[" * 2000 + b"]" * 2000, "is no JSON|nested too deeply"),
        ("json_lines", b'{"a": 1}\nrubbish\n', "line 2 is no JSON"),
        ("pdf", b"rubbish", "damaged PDF"),
        ("pdf", pdf("Rivers")[:200], "damaged PDF|holds no text"),
        ("pdf", pdf(""), "holds no text"),
        ("docx", b"rubbish", "is no DOCX"),
        ("docx", docx(("", "x"), padding=200_000_000), "that is no document"),
        ("docx", docx(("", "&undefined;")), "damaged DOCX"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_reason(format_: Format, data: bytes, reason: str) -> None:
    with pytest.raises(Unreadable, match=reason):
        read(format_, data)


def test_html_becomes_markdown_without_what_stands_around_it() -> None:
    text = read("html", PAGE.encode())
    assert text.markdown
    assert text.text.startswith("# Rivers\n\nThe **Rhine** is long.\n\n## Small ones\n\n- Birs\n- Wiese\n")
    assert "| Birs | 73 |" in text.text
    assert not any(word in text.text for word in ("Site name", "Home", "track", "Imprint", "color"))


@pytest.mark.parametrize("end", ["", "<p>Rest</p>"])
def test_html_is_read_in_time_however_much_of_it_is_begun_and_never_ended(end: str) -> None:
    begun = "".join(part * 10_000 for part in (" ", "<a ", '<a href="', "<!-- ", "<![CDATA[", "<?", "</"))
    # Looked at anew at every beginning, this would take minutes.
    page = "<p>Owls hunt.</p>" + begun * 2 + end
    before = time.process_time()
    assert read("html", page.encode()).text.startswith("Owls hunt.\n")
    assert time.process_time() - before < 20


def test_html_without_a_main_part_is_its_body_under_its_title() -> None:
    page = "<title>Towers</title><body><header>Menu</header><p>Tall.</p><footer>Imprint</footer>"
    assert read("html", page.encode()).text == "# Towers\n\nTall.\n"
    assert read("html", b"<title>Towers</title><p>Tall.").text == "# Towers\n\nTall.\n"
    article = "<body><p>Before</p><article><header><h1>Lakes</h1></header><p>Deep.</p></article>"
    assert read("html", article.encode()).text == "# Lakes\n\nDeep.\n"


@pytest.mark.parametrize(
    ("page", "charset"),
    [
        (b'<meta charset="iso-8859-1"><p>caf\xe9', ""),
        (b'<meta http-equiv="Content-Type" content="text/html; charset=windows-1252"><p>caf\xe9', ""),
        (b"<p>caf\xe9", "latin-1"),
        (b'<meta charset="utf-8"><p>caf\xe9', "latin-1"),
        (codecs.BOM_UTF8 + b'<meta charset="latin-1"><p>caf\xc3\xa9', "latin-1"),
    ],
)
def test_html_tells_its_charset_and_the_server_tells_it_better(page: bytes, charset: str) -> None:
    assert read("html", page, charset).text == "café\n"


def test_deeply_nested_html_is_refused_and_ends_nothing() -> None:
    with pytest.raises(Unreadable, match="nested too deeply"):
        read("html", b"<div>" * 50_000 + b"x")


def test_a_pdf_knows_where_its_pages_begin() -> None:
    text = read("pdf", pdf("The Rhine is long.", "Owls hunt mice."))
    assert text.text == "The Rhine is long.\n\nOwls hunt mice."
    assert [text.text[start:][:4] for start in text.pages] == ["The ", "Owls"]


def test_an_encrypted_pdf_is_refused() -> None:
    with pytest.raises(Unreadable, match="is encrypted"):
        read("pdf", encrypted_pdf("secret"))


def test_a_docx_keeps_its_headings() -> None:
    text = read("docx", docx(("Heading1", "Rivers"), ("", "The Rhine is long."), ("Heading2", "Small"), ("", "Birs.")))
    assert text.markdown
    assert text.text == "# Rivers\n\nThe Rhine is long.\n\n## Small\n\nBirs.\n"


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_each_row_of_a_csv_is_a_paragraph_with_the_names_of_its_columns(delimiter: str) -> None:
    rows = [
        ["name", "km", "note"],
        ["Rhine", "1233", '"long\nand wide"'],
        ["Birs", "73", ""],
        ["Wiese", "55", "x", "y"],
    ]
    text = read("csv", "\r\n".join(delimiter.join(row) for row in rows).encode())
    assert text.text == (
        "name: Rhine\nkm: 1233\nnote: long\nand wide\n\nname: Birs\nkm: 73\n\nname: Wiese\nkm: 55\nnote: x\ncolumn 4: y"
    )


def test_json_becomes_lines_with_the_path_of_each_value() -> None:
    value = b'[{"name": "Rhine", "towns": ["Basel", "K\\u00f6ln"], "length": {"km": 1233.5}}, {"name": null}]'
    expected = "name: Rhine\ntowns: Basel, Köln\nlength.km: 1233.5\n\nname: null"
    assert read("json", value).text == expected
    lines = b'{"name": "Rhine"}\n\n{"parts": [{"a": 1}, {"a": true}]}\n'
    assert read("json_lines", lines).text == "name: Rhine\n\nparts.1.a: 1\nparts.2.a: true"


@pytest.mark.parametrize(
    ("name", "format_"),
    [
        ("a.MD", "markdown"),
        ("a.htm", "html"),
        ("b/a.PDF", "pdf"),
        ("a.docx", "docx"),
        ("a.tsv", "csv"),
        ("a.jsonl", "json_lines"),
        ("a.rst", "text"),
        ("README", "text"),
    ],
)
def test_a_file_is_what_its_name_ends_with(name: str, format_: str) -> None:
    assert format_of_name(name) == format_


def test_a_media_type_names_a_format_or_none() -> None:
    assert format_of_media_type("Text/HTML; charset=utf-8") == "html"
    assert format_of_media_type("application/ld+json") == "json"
    assert format_of_media_type("image/png") is None
