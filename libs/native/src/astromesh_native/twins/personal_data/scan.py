"""All detectors over one text, and one answer where they overlap."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import chain

from astromesh_native.numbering import NumberingPlan
from astromesh_native.spans import PRECEDENCE, Entity, Span, disjoint
from astromesh_native.twins.personal_data.accounts import cards, ibans, social_security_numbers
from astromesh_native.twins.personal_data.addresses import emails, ip_addresses
from astromesh_native.twins.personal_data.phones import check, phones
from astromesh_native.twins.personal_data.secrets import secrets

Detector = Callable[[str], Iterable[Span]]


class PersonalDataScanner:
    """Finds the entities that it was made for. Holds no state between two texts.

    Raises ValueError for a plan whose shapes are no regular expressions.
    """

    def __init__(self, entities: Collection[Entity], plans: Sequence[NumberingPlan]) -> None:
        check(plans)
        by_entity: dict[Entity, Detector] = {
            "secret": secrets,
            "email": emails,
            "iban": ibans,
            "credit_card": cards,
            "us_ssn": social_security_numbers,
            "ip_address": ip_addresses,
            "phone": lambda text: phones(text, plans),
        }
        self._detectors = [detector for entity, detector in by_entity.items() if entity in entities]

    def scan(self, text: str) -> list[Span]:
        """What was found, disjoint and in order of place."""
        return disjoint(chain.from_iterable(detect(text) for detect in self._detectors), PRECEDENCE)
