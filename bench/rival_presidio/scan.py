"""Presidio's pattern recognisers behind a blank spaCy pipeline; started with its own interpreter by scanning.py.

Reads {texts, long, short, countries} as JSON and answers {found, rate, latencies}: what it finds in each of `texts`,
the bytes a second over `long`, and the seconds of each of `short`.
"""

from __future__ import annotations

import json
import sys
import time

import spacy
from presidio_analyzer import AnalyzerEngine, RecognizerRegistry
from presidio_analyzer.nlp_engine import SpacyNlpEngine
from presidio_analyzer.predefined_recognizers import (
    CreditCardRecognizer,
    EmailRecognizer,
    IbanRecognizer,
    IpRecognizer,
    PhoneRecognizer,
    UsSsnRecognizer,
)

KINDS = {
    "EMAIL_ADDRESS": "EMAIL",
    "PHONE_NUMBER": "PHONE",
    "IBAN_CODE": "IBAN",
    "CREDIT_CARD": "CREDIT_CARD",
    "US_SSN": "US_SSN",
    "IP_ADDRESS": "IP_ADDRESS",
}


class Blank(SpacyNlpEngine):
    """No model: its tokeniser alone, for the patterns need no more."""

    def __init__(self) -> None:
        super().__init__(models=[{"lang_code": "en", "model_name": "blank"}])
        self.nlp = {"en": spacy.blank("en")}


def main() -> None:
    asked = json.load(sys.stdin)
    registry = RecognizerRegistry(supported_languages=["en"])
    for recognizer in (
        EmailRecognizer(),
        PhoneRecognizer(supported_regions=tuple(asked["countries"])),
        IbanRecognizer(),
        CreditCardRecognizer(),
        UsSsnRecognizer(),
        IpRecognizer(),
    ):
        registry.add_recognizer(recognizer)
    analyzer = AnalyzerEngine(registry=registry, nlp_engine=Blank(), supported_languages=["en"])

    def find(text: str) -> list[tuple[int, int, str]]:
        found = analyzer.analyze(text=text, language="en", entities=list(KINDS))
        return [(one.start, one.end, KINDS[one.entity_type]) for one in found]

    found = [find(text) for text in asked["texts"]]
    begun = time.perf_counter()
    for text in asked["long"]:
        find(text)
    wall = time.perf_counter() - begun
    latencies = []
    for text in asked["short"]:
        begun = time.perf_counter()
        find(text)
        latencies.append(time.perf_counter() - begun)
    rate = sum(len(text.encode()) for text in asked["long"]) / wall
    json.dump({"found": found, "rate": rate, "latencies": latencies}, sys.stdout)


if __name__ == "__main__":
    main()
