"""HTML to Markdown, so that its headings become the heading path. Menus, scripts and footers are left out."""

from __future__ import annotations

import re
from typing import Final

from bs4 import BeautifulSoup, Tag
from bs4.dammit import EncodingDetector
from bs4.exceptions import ParserRejectedMarkup
from markdownify import MarkdownConverter

from astromesh_core.ended_markup import ended
from astromesh_rag.readers.text import Text, Unreadable, decoded

_BOILERPLATE: Final = (
    "script",
    "style",
    "noscript",
    "template",
    "nav",
    "aside",
    "form",
    "button",
    "svg",
    "iframe",
    "object",
    "dialog",
)
_FRAME: Final = ("header", "footer")
"""Boilerplate around the content; inside an article they are a part of it."""

_BLANK_LINES: Final = re.compile(r"\n(?:[ \t]*\n){2,}")


def read_html(data: bytes, charset: str = "") -> Text:
    """The page's content: its `main`, or its one `article`, or its body. Raises Unreadable.

    The charset is that of the byte order mark, else the one told, else the one that the page declares, else UTF-8.
    """
    declared = charset or EncodingDetector.find_declared_encoding(data, is_html=True) or ""
    return Text(markdown_of(decoded(data, declared)), markdown=True)


def markdown_of(html: str) -> str:
    """The content of a page as Markdown, under its title where it has no heading of the first order."""
    try:
        soup = BeautifulSoup(ended(html), "html.parser")
    except ParserRejectedMarkup as error:
        raise Unreadable("is no HTML") from error
    for tag in soup.find_all(_BOILERPLATE):
        tag.decompose()
    content = _content(soup)
    if not isinstance(content.find_parent(["main", "article"]), Tag) and content.name not in ("main", "article"):
        for tag in content.find_all(_FRAME):
            if tag.find_parent(["main", "article"]) is None:
                tag.decompose()
    title = soup.title.get_text(" ", strip=True) if soup.title is not None else ""
    text = _converted(content)
    if title and content.find("h1") is None:
        text = f"# {title}\n\n{text}"
    return text


def _content(soup: BeautifulSoup) -> Tag:
    main = soup.find("main") or soup.find(role="main")
    if isinstance(main, Tag):
        return main
    articles = soup.find_all("article")
    if len(articles) == 1:
        return articles[0]
    return soup.body or soup


def _converted(content: Tag) -> str:
    # Addresses and pictures are nothing to be found by; what links say is kept.
    converter = MarkdownConverter(
        heading_style="atx",
        bullets="-",
        strip=["a", "img"],
        escape_asterisks=False,
        escape_underscores=False,
    )
    for title in content.find_all("title"):
        title.decompose()
    try:
        text = converter.convert_soup(content)
    except RecursionError as error:
        raise Unreadable("is nested too deeply") from error
    return _BLANK_LINES.sub("\n\n", text).strip() + "\n"
