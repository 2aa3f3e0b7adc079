"""Looking through the sources that a pipeline declares."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from astromesh_core.errors import InvalidInput
from astromesh_core.resources.rag_pipeline import DirectorySource, RAGPipelineSpec, UrlSource
from astromesh_rag.documents import Listing
from astromesh_rag.folders import list_files

if TYPE_CHECKING:
    from astromesh_rag.web import Web

PAUSE_SECONDS = 0.5
"""Between two questions to one host of the web."""


class Sources:
    """What declared sources hold. Relative folders start at the config folder."""

    def __init__(self, config: Path, pause: float = PAUSE_SECONDS) -> None:
        self._config = config
        self._pause = pause
        self._web: Web | None = None

    async def listing(self, spec: RAGPipelineSpec, *, confined: bool) -> Listing:
        """Every document of the declared sources. Raises InvalidInput for what a pipeline may not name.

        `confined`: whoever declared the pipeline may name folders of the config folder only, and no private address.
        """
        pages = [source for source in spec.ingestion.sources if isinstance(source, UrlSource)]
        if confined and any(source.allow_private for source in pages):
            raise InvalidInput("allow_private leads inside the network; only a pipeline in a file may declare it")
        folders = [source for source in spec.ingestion.sources if isinstance(source, DirectorySource)]
        listing = await asyncio.to_thread(list_files, self._config, folders, confined=confined)
        if pages:
            self._list_pages(pages, listing)
        return listing

    def _list_pages(self, pages: list[UrlSource], listing: Listing) -> None:
        # Imported here because the HTTP client is slow to import, and most pipelines hold files alone.
        from astromesh_rag.pages import list_pages
        from astromesh_rag.web import Web

        self._web = self._web or Web(self._pause)
        list_pages(self._web, pages, listing)
