"""From what the files say and what is stored to what shall be stored. Pure; doing it stands in `publishing`.

a good resource              is stored, unless it clashes with others
a bad edit                   is refused; the version that is stored keeps serving
gone from readable files     is deleted, unless something that stays refers to it
gone with a file's text      (unreadable, no YAML) stays
owned by another side        is never touched
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from astromesh_core.resources.conditions import CONFIG_FOLDER
from astromesh_core.resources.defaults import with_defaults
from astromesh_core.resources.parsing import Loaded
from astromesh_core.resources.policies import Policies, policies_of, with_policies
from astromesh_core.resources.problems import Problem
from astromesh_core.resources.references import ResourceKey, refer
from astromesh_core.resources.resource import Resource
from astromesh_core.resources.runtime_config import Defaults, RuntimeConfigSpec
from astromesh_core.resources.validation import check, links

_WHOLE_FOLDER: Final = "/"


@dataclass(frozen=True)
class Stored:
    """A resource that serves now, and the file that it came from ("" where it came from none)."""

    resource: Resource
    file: str
    generation: int = 0

    @property
    def ours(self) -> bool:
        """Whether files own it."""
        return self.resource.managed_by == "file"


@dataclass(frozen=True)
class Plan:
    """What shall be."""

    put: tuple[Resource, ...] = ()
    """With the mesh's defaults, and the rules of the policies that they name, filled in."""
    refilled: tuple[Stored, ...] = ()
    """Agents that other sides manage, whose policies say something else now."""
    delete: tuple[ResourceKey, ...] = ()
    refused: dict[ResourceKey, tuple[Problem, ...]] = field(default_factory=dict[ResourceKey, tuple[Problem, ...]])
    """Why the newest edit of a resource is not taken; whether or not an older version serves. What concerns no resource
    stands under CONFIG_FOLDER."""
    problems: tuple[Problem, ...] = ()
    """Everything that is wrong with the files."""


def plan(loaded: Loaded, stored: Mapping[ResourceKey, Stored]) -> Plan:
    """Decides what to store, to delete and to refuse."""
    return _Planning(loaded, stored).decide()


class _Planning:
    def __init__(self, loaded: Loaded, stored: Mapping[ResourceKey, Stored]) -> None:
        self._stored = stored
        self._good: dict[ResourceKey, Resource] = {}
        self._refused: dict[ResourceKey, list[Problem]] = {}
        self._problems: list[Problem] = list(loaded.problems)
        self._read(loaded)
        self._gone = {key for key, old in stored.items() if old.ours and key not in self._good}

    def decide(self) -> Plan:
        self._keep_what_bad_files_hold()
        while self._keep_what_is_referred_to() or self._refuse_what_clashes():
            pass
        self._file_what_names_nobody()
        defaults, policies = self._defaults(), policies_of(self._candidates())
        return Plan(
            put=tuple(with_policies(with_defaults(resource, defaults), policies) for resource in self._good.values()),
            refilled=tuple(self._refilled(policies)),
            delete=tuple(sorted(self._gone)),
            refused={key: tuple(problems) for key, problems in self._refused.items()},
            problems=tuple(self._problems),
        )

    def _read(self, loaded: Loaded) -> None:
        for problem in check(loaded.resources):
            if problem.code == "DuplicateName":
                self._problems.append(problem)
        for resource in loaded.resources:
            other = self._stored.get(resource.key)
            if other is not None and not other.ours:
                owner = other.resource.managed_by
                self._refuse(resource, "Conflict", f"{resource.key} is managed by {owner}", "change it there")
            elif resource.key not in self._good:
                self._good[resource.key] = resource
        configs = [resource for resource in self._good.values() if isinstance(resource.spec, RuntimeConfigSpec)]
        for second in configs[1:]:
            del self._good[second.key]
            reason = f"a mesh has one RuntimeConfig, and {configs[0].key} is it"
            self._refuse(second, "DuplicateRuntimeConfig", reason, "put both into one")

    def _keep_what_bad_files_hold(self) -> None:
        named = {key_of(problem.resource): problem for problem in self._problems if problem.resource}
        for key in named:
            if key is not None and key not in self._good:
                self._refused.setdefault(key, []).extend(p for p in self._problems if p.resource == str(key))
                self._gone.discard(key)
        for key in sorted(self._gone):
            blind = [problem for problem in self._problems if _hides(problem, self._stored[key].file)]
            if blind:
                self._gone.discard(key)
                self._refused.setdefault(key, []).extend(blind)

    def _keep_what_is_referred_to(self) -> bool:
        kept = False
        for resource in self._candidates():
            for path, kind, reference in links(resource):
                key = refer(kind, reference, resource.namespace)
                if key in self._gone:
                    kept = True
                    self._gone.discard(key)
                    place, _, line = resource.locate(path)
                    reason = f"is gone from here, and stays because {resource.key} refers to it"
                    self._note(key, Problem(self._stored[key].file, 0, "", reason, _at(place, line), "StillUsed"))
        return kept

    def _refuse_what_clashes(self) -> bool:
        clashes = [problem for problem in check(self._candidates()) if problem.code != "DuplicateName"]
        refused = False
        for problem in clashes:
            key = key_of(problem.resource)
            if key is not None and key in self._good:
                refused = True
                self._problems.append(problem)
                self._refused.setdefault(key, []).append(problem)
        for key in self._refused:
            self._good.pop(key, None)
        return refused

    def _file_what_names_nobody(self) -> None:
        told = {problem for problems in self._refused.values() for problem in problems}
        if unplaced := [problem for problem in self._problems if problem not in told]:
            self._refused[CONFIG_FOLDER] = unplaced

    def _candidates(self) -> list[Resource]:
        others = [old.resource for key, old in self._stored.items() if key not in self._good and key not in self._gone]
        return [*self._good.values(), *others]

    def _refilled(self, policies: Policies) -> Iterator[Stored]:
        for old in self._stored.values():
            filled = with_policies(old.resource, policies)
            if not old.ours and filled.spec_json != old.resource.spec_json:
                yield replace(old, resource=filled)

    def _defaults(self) -> Defaults:
        specs = (resource.spec for resource in self._candidates())
        return next((spec.defaults for spec in specs if isinstance(spec, RuntimeConfigSpec)), Defaults())

    def _refuse(self, resource: Resource, code: str, reason: str, hint: str) -> None:
        file, path, line = resource.locate(())
        self._note(resource.key, Problem(file, line, path, reason, hint, code, str(resource.key)))

    def _note(self, key: ResourceKey, problem: Problem) -> None:
        self._problems.append(problem)
        self._refused.setdefault(key, []).append(problem)


def key_of(text: str) -> ResourceKey | None:
    """Reads what a problem names: `Kind namespace/name`; None where it names nothing."""
    kind, _, place = text.partition(" ")
    namespace, slash, name = place.partition("/")
    return ResourceKey(kind, namespace, name) if slash else None


def lines_of(problems: Iterable[Problem]) -> str:
    """A line for each, for a person: file, line, field and reason."""
    return "\n".join(str(problem) for problem in problems)


def _hides(problem: Problem, file: str) -> bool:
    """Whether a problem keeps one from knowing what a file holds."""
    if problem.resource or problem.code == "UnexpectedFile":
        return False
    if problem.file.endswith("/"):
        return problem.file.startswith(_WHOLE_FOLDER) or file.startswith(problem.file)
    return problem.file == file


def _at(file: str, line: int) -> str:
    return f"see {file}:{line}" if line else f"see {file}" if file else ""
