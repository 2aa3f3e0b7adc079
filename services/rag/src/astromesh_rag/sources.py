"""Looking through the sources that a pipeline declares."""

from __future__ import annotations

import asyncio
from pathlib import Path

from astromesh_core.errors import InvalidInput
from astromesh_core.resources.rag_pipeline import DirectorySource, RAGPipelineSpec, UrlSource
from astromesh_rag.documents import Listing
from astromesh_rag.folders import list_files
from astromesh_rag.pages import list_pages
from astromesh_rag.web import Web


class Sources:
    """What declared sources hold. Relative folders start at the config folder."""

    def __init__(self, config: Path, web: Web) -> None:
        self._config = config
        self._web = web

    async def listing(self, spec: RAGPipelineSpec, *, confined: bool) -> Listing:
        """Every document of the declared sources. Raises InvalidInput for what a pipeline may not name.

        `confined`: whoever declared the pipeline may name folders of the config folder only, and no private address.
        """
        pages = [source for source in spec.ingestion.sources if isinstance(source, UrlSource)]
        if confined and any(source.allow_private for source in pages):
            raise InvalidInput("allow_private leads inside the network; only a pipeline in a file may declare it")
        folders = [source for source in spec.ingestion.sources if isinstance(source, DirectorySource)]
        listing = await asyncio.to_thread(list_files, self._config, folders, confined=confined)
        list_pages(self._web, pages, listing)
        return listing
