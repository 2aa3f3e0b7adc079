"""What a mesh gives to agents that do not say otherwise. Applied once, before an agent is stored."""

from __future__ import annotations

from astromesh_core.resources.agent import AgentSpec
from astromesh_core.resources.orchestration import Orchestration
from astromesh_core.resources.resource import Resource
from astromesh_core.resources.runtime_config import Defaults


def with_defaults(resource: Resource, defaults: Defaults) -> Resource:
    """Fills in the fields of `orchestration` that an agent leaves out; other kinds are returned as they are.

    Works on a resource as it was parsed: one read back from its canonical JSON has said everything.
    """
    spec = resource.spec
    if not isinstance(spec, AgentSpec):
        return resource
    own, shared = spec.orchestration, defaults.orchestration
    missing = shared.model_fields_set - own.model_fields_set
    if not missing:
        return resource
    filled: Orchestration = own.model_copy(update={name: getattr(shared, name) for name in missing})
    return resource.with_spec(spec.model_copy(update={"orchestration": filled}))
