"""A resource: who it is, who owns it, what it says, where it was written. Reading one stands in `parsing`."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal, get_args

import orjson
from pydantic import Field, JsonValue

from astromesh_core.resources.agent import AgentSpec
from astromesh_core.resources.channel import ChannelSpec
from astromesh_core.resources.fields import Models, descend
from astromesh_core.resources.guardrails import GuardrailPolicySpec
from astromesh_core.resources.problems import dotted
from astromesh_core.resources.provider import ProviderSpec
from astromesh_core.resources.rag_pipeline import RAGPipelineSpec
from astromesh_core.resources.references import Name, ResourceKey
from astromesh_core.resources.runtime_config import RuntimeConfigSpec
from astromesh_core.resources.spelling import Spec
from astromesh_core.resources.yaml_documents import Path

AnySpec = AgentSpec | ProviderSpec | ChannelSpec | RAGPipelineSpec | GuardrailPolicySpec | RuntimeConfigSpec

Kind = Literal["Agent", "Provider", "Channel", "RAGPipeline", "GuardrailPolicy", "RuntimeConfig"]
ManagedBy = Literal["file", "api", "kubernetes"]

KINDS: dict[str, type[AnySpec]] = {
    "Agent": AgentSpec,
    "Provider": ProviderSpec,
    "Channel": ChannelSpec,
    "RAGPipeline": RAGPipelineSpec,
    "GuardrailPolicy": GuardrailPolicySpec,
    "RuntimeConfig": RuntimeConfigSpec,
}
"""The kinds that are stored. ProviderConfig and channels.yaml are ways to write several of these."""

API_VERSIONS = ("astromesh/v1", "astromesh.io/v1alpha1")


class Metadata(Spec):
    """Who a resource is."""

    name: Name
    namespace: Name | None = None
    version: str = ""
    labels: dict[str, str] = Field(default_factory=dict[str, str])
    annotations: dict[str, str] = Field(default_factory=dict[str, str])


@dataclass(frozen=True)
class Origin:
    """Where a resource was written: the file, and the line of every field. Its spec stands at `root`."""

    file: str
    lines: dict[Path, int] = field(default_factory=dict[Path, int], repr=False)
    root: Path = ("spec",)

    def locate(self, path: Path, model: type[Spec]) -> tuple[str, int]:
        """Finds a canonical path below the spec: as it was written, and its line or its nearest parent's."""
        written = self.root
        models: Models = frozenset((model,))
        for depth, segment in enumerate(path):
            names: tuple[str | int, ...] = (segment,)
            if isinstance(segment, str):
                names, models = descend(models, segment)
            name = next((name for name in names if (*written, name) in self.lines), None)
            if name is None and isinstance(segment, str):
                return dotted((*written, *path[depth:])), self.lines.get(written, 0)
            written = written if name is None else (*written, name)
        return dotted(written), self.lines.get(written, 0)


@dataclass(frozen=True)
class Resource:
    """One version of one resource. Equal in content means equal in `hash`, however it was spelt."""

    key: ResourceKey
    spec: AnySpec
    managed_by: ManagedBy = "file"
    version: str = ""
    labels: dict[str, str] = field(default_factory=dict[str, str])
    annotations: dict[str, str] = field(default_factory=dict[str, str])
    origin: Origin | None = field(default=None, compare=False)

    @property
    def kind(self) -> str:
        return self.key.kind

    @property
    def namespace(self) -> str:
        return self.key.namespace

    @property
    def name(self) -> str:
        return self.key.name

    @cached_property
    def spec_json(self) -> str:
        """The canonical JSON of the spec: one spelling, sorted keys, defaults spelled out, no secrets."""
        return self.spec.to_json()

    @cached_property
    def sha256(self) -> bytes:
        """The SHA-256 of `spec_json`."""
        return resource_hash(self.spec_json)

    @property
    def metadata_json(self) -> str:
        """JSON of version, labels and annotations."""
        return orjson.dumps(self._described(), option=orjson.OPT_SORT_KEYS).decode()

    def to_document(self) -> dict[str, JsonValue]:
        """Writes the resource as a document that reads back as the same resource."""
        names: dict[str, JsonValue] = {"name": self.name, "namespace": self.namespace}
        described = {key: value for key, value in self._described().items() if value}
        spec: JsonValue = orjson.loads(self.spec_json)
        return {"apiVersion": API_VERSIONS[0], "kind": self.kind, "metadata": {**names, **described}, "spec": spec}

    def locate(self, path: Path) -> tuple[str, str, int]:
        """Finds a canonical path below the spec: file, path as written, line. Without an origin: "", the path, 0."""
        if self.origin is None:
            return "", dotted(("spec", *path)), 0
        return (self.origin.file, *self.origin.locate(path, KINDS[self.kind]))

    def with_spec(self, spec: AnySpec) -> Resource:
        """The same resource saying something else."""
        return replace(self, spec=spec)

    def _described(self) -> dict[str, JsonValue]:
        return {"version": self.version, "labels": {**self.labels}, "annotations": {**self.annotations}}


def resource_hash(spec_json: str | bytes) -> bytes:
    """The SHA-256 of a canonical spec: the name under which a version of a resource is stored."""
    return hashlib.sha256(spec_json.encode() if isinstance(spec_json, str) else spec_json).digest()


def read_spec(kind: str, spec_json: str | bytes) -> AnySpec:
    """Reads a stored spec of any kind back. Raises KeyError for an unknown kind, ValidationError for a foreign spec."""
    return KINDS[kind].from_json(spec_json)


def stored_resource(key: ResourceKey, spec_json: str, metadata_json: str, managed_by: str) -> Resource:
    """Reads a resource back from its stored parts."""
    owner = next(owner for owner in get_args(ManagedBy) if owner == managed_by)
    metadata = Metadata.model_validate({"name": key.name, **orjson.loads(metadata_json or "{}")})
    spec = read_spec(key.kind, spec_json)
    return Resource(key, spec, owner, metadata.version, metadata.labels, metadata.annotations)
