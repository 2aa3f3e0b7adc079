"""What an agent may choose from, once its own provider classes have said what they can do and what they cost."""

from __future__ import annotations

from astromesh.v1.values_pb2 import ResourceRef
from astromesh_router.candidates import Pool
from astromesh_router.declared import DeclaredCandidates
from astromesh_router.dialects.custom import CustomProviders


class IntroducedCandidates:
    """The declared candidates, users' classes introduced."""

    def __init__(self, declared: DeclaredCandidates, custom: CustomProviders) -> None:
        self._declared = declared
        self._custom = custom

    async def pool(self, ref: ResourceRef, role: str) -> Pool:
        """See `DeclaredCandidates.pool`."""
        return await self._custom.introduced(await self._declared.pool(ref, role))
