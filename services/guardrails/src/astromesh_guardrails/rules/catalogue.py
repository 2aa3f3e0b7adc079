"""From a rule as it is declared to what applies it."""

from __future__ import annotations

from astromesh_core.errors import Bug
from astromesh_core.resources import guardrail_rules as declared
from astromesh_core.resources.guardrail_content import ContentFilter, JsonForm
from astromesh_core.resources.guardrail_meaning import Grounding, PromptInjection, TopicFilter
from astromesh_guardrails.rules.content import ContentRule
from astromesh_guardrails.rules.grounding import GroundingRule
from astromesh_guardrails.rules.injection import InjectionPatternsRule, InjectionRule
from astromesh_guardrails.rules.json_form import JsonFormRule
from astromesh_guardrails.rules.length import LengthRule
from astromesh_guardrails.rules.masks import MaskRule
from astromesh_guardrails.rules.personal_data import PersonalDataRule
from astromesh_guardrails.rules.port import AnyRule, Rule
from astromesh_guardrails.rules.topics import TopicMeaningRule, TopicWordsRule
from astromesh_guardrails.rules.trained_topics import TrainedTopicsRule
from astromesh_guardrails.sources import Sources


def made(rule: declared.Rule, sources: Sources) -> AnyRule:
    """The rule, ready to apply. Raises InvalidInput for one that cannot work, NotFound where its file is missing."""
    match rule:
        case TopicFilter(method="embeddings"):
            return TopicMeaningRule(rule, sources)
        case TopicFilter(method="classifier"):
            return TrainedTopicsRule(rule, sources)
        case PromptInjection(similarity=True):
            return InjectionRule(rule, sources)
        case Grounding():
            return GroundingRule(rule, sources)
        case _:
            return _plain(rule, sources)


def _plain(rule: declared.Rule, sources: Sources) -> Rule:
    match rule:
        case declared.MaxLength():
            return LengthRule(rule, sources.count_tokens)
        case ContentFilter():
            return ContentRule(rule)
        case declared.PiiDetection():
            return MaskRule(rule) if rule.action == "mask" else PersonalDataRule(rule)
        case JsonForm():
            return JsonFormRule(rule)
        case PromptInjection():
            return InjectionPatternsRule(rule)
        case TopicFilter():
            return TopicWordsRule(rule)
        case _:
            raise Bug(f"{rule.type} judges no text")
