"""A plain mapping, from a file or a request, to resources. ProviderConfig and channels.yaml hold several."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import Field, JsonValue, ValidationError

from astromesh_core.resources.explanations import Explainer, line_of
from astromesh_core.resources.problems import InvalidResource, Problem, did_you_mean, dotted
from astromesh_core.resources.provider import ProviderConfigSpec
from astromesh_core.resources.references import ResourceKey
from astromesh_core.resources.resource import KINDS, ManagedBy, Metadata, Origin, Resource
from astromesh_core.resources.secrets import SECRET_HINT, exposed_secrets
from astromesh_core.resources.spelling import Spec
from astromesh_core.resources.yaml_documents import Document, Path

_KINDS = (*KINDS, "ProviderConfig")
_SERVER_FIELDS = frozenset(
    (
        "uid",
        "resourceVersion",
        "generation",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "managedFields",
        "ownerReferences",
        "finalizers",
        "selfLink",
    )
)


class Head(Spec):
    """What every document has. `status` is the controllers' and is not taken from a document, as in Kubernetes."""

    api_version: Literal["astromesh/v1", "astromesh.io/v1alpha1"] = Field(validation_alias="apiVersion")
    kind: str
    metadata: Metadata
    spec: dict[str, JsonValue]
    status: JsonValue = None


@dataclass(frozen=True)
class Loaded:
    """What was read: the good resources, and why the others are refused."""

    resources: tuple[Resource, ...] = ()
    problems: tuple[Problem, ...] = ()

    def __add__(self, other: Loaded) -> Loaded:
        return Loaded(self.resources + other.resources, self.problems + other.problems)


def parse_resource(value: JsonValue, *, managed_by: ManagedBy = "api", namespace: str = "default") -> Resource:
    """Reads the one resource that a mapping holds. `namespace` is used where the metadata names none.

    Raises InvalidResource with every reason.
    """
    loaded = parse_document(Document("", value), managed_by=managed_by, namespace=namespace)
    if not loaded.problems and len(loaded.resources) != 1:
        reason = f"holds {len(loaded.resources)} resources where one is expected"
        raise InvalidResource([Problem("", 0, "", reason, "send each by itself")])
    if loaded.problems:
        raise InvalidResource(loaded.problems)
    return loaded.resources[0]


def parse_document(document: Document, *, managed_by: ManagedBy = "file", namespace: str = "default") -> Loaded:
    """Reads every resource of a document. A bad one does not spoil the others of a ProviderConfig or channels.yaml."""
    return _Reading(document, managed_by, namespace).read()


class _Reading:
    def __init__(self, document: Document, managed_by: ManagedBy, namespace: str) -> None:
        self._file, self._lines = document.file, document.lines
        self._value = document.value
        self._managed_by: ManagedBy = managed_by
        self._namespace = namespace

    def read(self) -> Loaded:
        value = self._value
        if not isinstance(value, dict):
            return self._refuse((), "is not a mapping with apiVersion, kind, metadata and spec")
        if "kind" not in value and "apiVersion" not in value and "channels" in value:
            return self._channels(value)
        kind = value.get("kind")
        if isinstance(kind, str) and kind not in _KINDS:
            hint = did_you_mean(kind, _KINDS) or "one of " + ", ".join(_KINDS)
            return self._refuse(("kind",), f"{kind!r} is no kind of resource", hint, "UnknownKind")
        value = _without_server_fields(value)
        try:
            head = Head.model_validate(value)
        except ValidationError as error:
            found = Explainer("", Head, value).explain(error, self._file, self._lines)
            key = _declared_key(value, self._namespace)
            return Loaded((), tuple(found if key is None else (_named(problem, key) for problem in found)))
        if head.kind == "ProviderConfig":
            return self._providers(head)
        return self._resource(head.kind, head.metadata, head.spec, ("spec",))

    def _providers(self, head: Head) -> Loaded:
        spec: JsonValue = head.spec
        try:
            config = ProviderConfigSpec.model_validate(spec)
        except ValidationError as error:
            explainer = Explainer("ProviderConfig", ProviderConfigSpec, spec, ("spec",))
            return Loaded((), tuple(explainer.explain(error, self._file, self._lines)))
        entries = {name: config.whole(entry) for name, entry in config.providers.items()}
        return self._entries("Provider", head.metadata, entries, ("spec", "providers"))

    def _channels(self, value: dict[str, JsonValue]) -> Loaded:
        unknown = next((key for key in value if key != "channels"), None)
        if unknown is not None:
            return self._refuse(
                (unknown,), "is an unknown field", "a channels.yaml holds channels alone", "UnknownField"
            )
        entries = value["channels"]
        if not isinstance(entries, dict):
            return self._refuse(("channels",), "must be a mapping of channels by name")
        typed = {name: {"type": name, **entry} if isinstance(entry, dict) else entry for name, entry in entries.items()}
        return self._entries("Channel", Metadata(name="channels"), typed, ("channels",))

    def _entries(self, kind: str, shared: Metadata, entries: dict[str, JsonValue], root: Path) -> Loaded:
        loaded = Loaded()
        for name, entry in entries.items():
            try:
                metadata = Metadata.model_validate({**shared.model_dump(), "name": name})
            except ValidationError as error:
                reason = error.errors()[0]
                hint = str(reason.get("ctx", {}).get("hint", ""))
                loaded += self._refuse((*root, name), reason["msg"], hint, "InvalidName")
                continue
            loaded += self._resource(kind, metadata, entry, (*root, name))
        return loaded

    def _resource(self, kind: str, metadata: Metadata, spec: JsonValue, root: Path) -> Loaded:
        key = ResourceKey(kind, metadata.namespace or self._namespace, metadata.name)
        exposed = [self._exposed((*root, *path)) for path in exposed_secrets(spec)]
        try:
            read = KINDS[kind].model_validate(spec)
        except ValidationError as error:
            hidden = {problem.path for problem in exposed}
            found = Explainer(kind, KINDS[kind], spec, root).explain(error, self._file, self._lines)
            exposed += [problem for problem in found if problem.path not in hidden]
        else:
            if not exposed:
                origin = Origin(self._file, self._lines, root) if self._file else None
                described = (metadata.version, metadata.labels, metadata.annotations)
                return Loaded((Resource(key, read, self._managed_by, *described, origin),))
        return Loaded((), tuple(_named(problem, key) for problem in exposed))

    def _exposed(self, path: Path) -> Problem:
        reason = "holds a secret's value; a resource holds only references"
        return Problem(self._file, line_of(path, self._lines), dotted(path), reason, SECRET_HINT, "SecretValue")

    def _refuse(self, path: Path, reason: str, hint: str = "", code: str = "Invalid") -> Loaded:
        return Loaded((), (Problem(self._file, line_of(path, self._lines), dotted(path), reason, hint, code),))


def _named(problem: Problem, key: ResourceKey) -> Problem:
    return Problem(
        problem.file, problem.line, problem.path, problem.reason, problem.hint, problem.code, resource=str(key)
    )


def _declared_key(value: dict[str, JsonValue], namespace: str) -> ResourceKey | None:
    """Whom a document that cannot be read declares all the same; None where that much cannot be read either."""
    kind, metadata = value.get("kind"), value.get("metadata")
    if not isinstance(kind, str) or kind not in KINDS or not isinstance(metadata, dict):
        return None
    named = {"namespace": namespace, **metadata}
    try:
        read = Metadata.model_validate({"name": named.get("name"), "namespace": named["namespace"]})
    except ValidationError:
        return None
    return ResourceKey(kind, read.namespace or namespace, read.name)


def _without_server_fields(value: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """Leaves out what a Kubernetes API server writes into metadata; nobody declares it."""
    metadata = value.get("metadata")
    if value.get("apiVersion") != "astromesh.io/v1alpha1" or not isinstance(metadata, dict):
        return value
    return {**value, "metadata": {key: inner for key, inner in metadata.items() if key not in _SERVER_FIELDS}}
