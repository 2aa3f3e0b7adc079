"""What an answer of the web is to a model: HTML as Markdown with its links, JSON and text as they are. Pure."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urljoin

from bs4 import BeautifulSoup, Tag
from bs4.dammit import EncodingDetector
from bs4.exceptions import ParserRejectedMarkup
from markdownify import MarkdownConverter

from astromesh_core.ended_markup import ended
from astromesh_core.errors import InvalidInput

MOST_HTML: Final = 500_000
"""Characters of a page that are looked at."""

_HTML: Final = frozenset(("text/html", "application/xhtml+xml"))
_TEXTS: Final = frozenset(("application/json", "application/xml", "application/javascript", "application/yaml"))
_NEVER_READ: Final = (
    "script",
    "style",
    "noscript",
    "template",
    "nav",
    "form",
    "button",
    "svg",
    "iframe",
    "dialog",
    "img",
)
_FRAME: Final = ("header", "footer", "aside")
_BLANK_LINES: Final = re.compile(r"\n(?:[ \t]*\n){2,}")


def readable(body: bytes, media_type: str, charset: str, url: str) -> str:
    """The text of an answer. `url` is where its links start. Raises InvalidInput for HTML that nobody can read."""
    if media_type in _HTML:
        declared = charset or EncodingDetector.find_declared_encoding(body, is_html=True) or "utf-8"
        return _markdown(_decoded(body, declared), url)
    if media_type.startswith("text/") or media_type in _TEXTS or media_type.endswith(("+json", "+xml")):
        return _decoded(body, charset)
    return f"[{len(body)} bytes of {media_type}, which cannot be read as text]"


def _decoded(body: bytes, charset: str) -> str:
    try:
        return body.decode(charset or "utf-8", "replace")
    except LookupError:
        return body.decode("utf-8", "replace")


def _markdown(html: str, url: str) -> str:
    try:
        soup = BeautifulSoup(ended(html[:MOST_HTML]), "html.parser")
    except (ParserRejectedMarkup, ValueError) as error:
        raise InvalidInput("the page is no HTML that can be read") from error
    title = soup.title.get_text(" ", strip=True) if soup.title is not None else ""
    for tag in soup.find_all((*_NEVER_READ, "title")):
        tag.decompose()
    content = _content(soup)
    for link in content.find_all("a", href=True):
        link["href"] = _joined(url, str(link["href"]))
    heading = f"# {title}\n\n" if title and content.find("h1") is None else ""
    return heading + _BLANK_LINES.sub("\n\n", _converted(content)).strip()


def _converted(content: Tag) -> str:
    converter = MarkdownConverter(heading_style="atx", bullets="-", escape_asterisks=False, escape_underscores=False)
    try:
        return converter.convert_soup(content)
    except RecursionError:
        # Nested deeper than Markdown is made of: its words are all there is to read.
        return content.get_text("\n", strip=True)


def _joined(url: str, link: str) -> str:
    try:
        return urljoin(url, link)
    except ValueError:
        return link


def _content(soup: BeautifulSoup) -> Tag:
    """The page's `main`, or its one `article`, or its body without the frame."""
    main = soup.find("main") or soup.find(role="main")
    if isinstance(main, Tag):
        return main
    articles = soup.find_all("article")
    if len(articles) == 1:
        return articles[0]
    content = soup.body or soup
    for tag in content.find_all(_FRAME):
        if tag.find_parent("article") is None:
            tag.decompose()
    return content
