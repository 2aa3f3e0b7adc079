"""The numbering plans of countries, read from the `phonenumbers` library's metadata. Finding numbers is the scan's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Final

from astromesh_core.errors import InvalidInput
from astromesh_native.numbering import NumberingPlan

if TYPE_CHECKING:
    from phonenumbers import NumberFormat, PhoneMetadata, PhoneNumberDesc

_KINDS: Final = (
    "fixed_line", "mobile", "toll_free", "premium_rate", "shared_cost", "personal_number", "voip", "pager", "uan",
    "voicemail",
)  # fmt: skip
_NORTH_AMERICA: Final = 1


@cache
def numbering_plan(country: str) -> NumberingPlan:
    """The plan of a country by its ISO 3166 code. The metadata loads with the first call, not before.

    A number counts where its country knows the shape and where it is in use anywhere under the same calling code.
    Raises InvalidInput for a country that has no numbering plan.
    """
    from phonenumbers import PhoneMetadata

    metadata = PhoneMetadata.metadata_for_region(country)
    if metadata is None or metadata.general_desc is None:
        raise InvalidInput(f"{country} has no numbering plan: name a country by its ISO 3166 code, as in US")
    regions = list(_sharing(metadata.country_code))
    in_use = dict.fromkeys(shape for region in regions for shape in _shapes(region))
    return NumberingPlan(
        prefix=metadata.national_prefix or "",
        required=_demands_prefix(metadata, regions[0]),
        lengths=frozenset(metadata.general_desc.possible_length),
        shapes=(metadata.general_desc.national_number_pattern or "", "|".join(in_use)),
        north_american=metadata.country_code == _NORTH_AMERICA,
    )


def _sharing(calling_code: int | None) -> Iterator[PhoneMetadata]:
    """The regions under a calling code, the one whose formats all of them use first."""
    from phonenumbers import COUNTRY_CODE_TO_REGION_CODE, PhoneMetadata

    for region in COUNTRY_CODE_TO_REGION_CODE[calling_code or 0]:
        metadata = PhoneMetadata.metadata_for_region(region)
        if metadata is not None:
            yield metadata


def _shapes(metadata: PhoneMetadata) -> Iterator[str]:
    for kind in _KINDS:
        numbers: PhoneNumberDesc | None = getattr(metadata, kind)
        if numbers is not None and numbers.national_number_pattern:
            yield numbers.national_number_pattern


def _demands_prefix(metadata: PhoneMetadata, main: PhoneMetadata) -> bool:
    """Whether the country writes the prefix with the numbers of land lines and of mobiles alike, and always."""
    examples = (numbers.example_number for numbers in (metadata.fixed_line, metadata.mobile) if numbers is not None)
    prefix = metadata.national_prefix
    written = [_format(main, number) for number in examples if number]
    return bool(prefix and written) and all(
        format is not None
        and (format.national_prefix_formatting_rule or "").lstrip("(").startswith(prefix or "")
        and not format.national_prefix_optional_when_formatting
        for format in written
    )


def _format(metadata: PhoneMetadata, number: str) -> NumberFormat | None:
    for format in metadata.number_format:
        leading = format.leading_digits_pattern
        if (not leading or re.match(leading[-1], number)) and re.fullmatch(format.pattern or "", number):
            return format
    return None
