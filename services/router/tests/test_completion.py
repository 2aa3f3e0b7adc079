"""What a call costs, by its usage and a candidate's prices."""

from __future__ import annotations

import pytest

from astromesh.v1.values_pb2 import Usage
from astromesh_router.candidates import Candidate, Prices
from astromesh_router.completion import charge_of, cost_nanos

PRICES = Prices(input=0.003, output=0.015, cached_input=0.0003, cache_write=0.00375)


@pytest.mark.parametrize(
    ("usage", "dollars"),
    [
        (Usage(input_tokens=1_000), 0.003),
        (Usage(output_tokens=1_000), 0.015),
        (Usage(input_tokens=1_000, cached_input_tokens=1_000), 0.0003),
        (Usage(input_tokens=1_000, cache_written_tokens=1_000), 0.00375),
        (Usage(input_tokens=10, cached_input_tokens=4, cache_written_tokens=3, output_tokens=2), 0.00005145),
        (Usage(output_tokens=1_000, reasoning_tokens=900), 0.015),
        (Usage(input_tokens=5, cached_input_tokens=10), 0.000003),
    ],
)
def test_each_kind_of_token_has_its_price(usage: Usage, dollars: float) -> None:
    assert cost_nanos(usage, PRICES) == round(dollars * 1e9)


def test_cached_input_costs_what_any_input_does_where_it_has_no_price() -> None:
    usage = Usage(input_tokens=1_000, cached_input_tokens=500, cache_written_tokens=250)
    assert cost_nanos(usage, Prices(input=0.003)) == 3_000_000


def test_a_charge_names_who_charges_and_keeps_that_its_usage_is_an_estimate() -> None:
    charge = charge_of(
        Candidate("openai", "openai_compat", "gpt-4o", prices=PRICES), Usage(input_tokens=1, estimated=True)
    )
    assert (charge.provider, charge.model, charge.cost_nanos, charge.currency) == ("openai", "gpt-4o", 3_000, "USD")
    assert charge.usage.estimated
