"""Which output rules let an answer be told while it is written, and which must see the whole of it first. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from astromesh_core.resources.guardrail_content import ContentFilter
from astromesh_core.resources.guardrail_costs import CostLimit
from astromesh_core.resources.guardrail_meaning import Grounding, PromptInjection, TopicFilter
from astromesh_core.resources.guardrail_rules import MaxLength, PiiDetection, Rule
from astromesh_core.resources.guardrails import GuardrailsSpec

_BLOCKS = "blocks the whole answer for what may stand at its end"


def held_back(spec: GuardrailsSpec) -> Iterator[tuple[str, str]]:
    """The output rules for whose sake nothing is told before the answer is whole: where each stands, and why."""
    for place, rule, _, dry_run in spec.rules("output"):
        reason = "" if dry_run else _reason(rule)
        if reason:
            yield place, f"{rule.type} {reason}"


def _reason(rule: Rule) -> str:
    if isinstance(rule, CostLimit):
        return ""  # judged before the calls of models
    if rule.action == "warn":
        return "blocks the answer where its model is away, unless it has on_error: allow" if _may_block(rule) else ""
    match rule:
        case PiiDetection():
            return "" if rule.action == "redact" else _BLOCKS
        case ContentFilter():
            return _of_content(rule)
        case MaxLength():
            if rule.action == "block":
                return _BLOCKS
            return "counts tokens of the whole answer" if rule.max_tokens is not None else ""
        case _:
            return "judges the answer as a whole"


def _may_block(rule: Rule) -> bool:
    """Whether a rule that only warns may block all the same: it asks a model, and cannot do without."""
    match rule:
        case Grounding():
            return rule.on_error == "block"
        case PromptInjection():
            return rule.similarity and rule.on_error == "block"
        case TopicFilter():
            return rule.method != "keywords" and rule.on_error == "block"
        case _:
            return False


def _of_content(rule: ContentFilter) -> str:
    actions = {rule.action, *(pattern.action or rule.action for pattern in rule.forbidden_patterns)}
    if "block" in actions:
        return _BLOCKS
    if "redact" in actions and rule.forbidden_patterns:
        return "has a pattern that may match any length"
    return ""
