"""The price catalogue is whole, dated and sourced."""

from __future__ import annotations

from datetime import date

import pytest

from spillway.contracts.prices import (
    PriceError,
    amortised_per_gpu_hour,
    blended_per_gpu_hour,
    catalogue,
    find_price,
    price_per_hour,
)


def test_every_price_has_a_date_and_a_source_and_is_there_once() -> None:
    prices = catalogue()
    assert len(prices) > 50
    assert len({(p.cloud, p.instance_type, p.region) for p in prices}) == len(prices)
    for price in prices:
        assert date(2025, 6, 1) <= price.read_on
        assert len(price.source) > 30
        assert 0.3 < price.usd_per_gpu_hour < 20, price


def test_scaled_prices_follow_the_ratio_that_they_state() -> None:
    scaled = [p for p in catalogue() if p.basis == "scaled"]
    assert scaled
    for price in scaled:
        assert "1.1163" in price.source
        assert price.usd_per_hour == pytest.approx(
            price_per_hour(price.cloud, price.instance_type, "us-east-1") * 1.1163, rel=1e-3
        )


def test_managed_endpoints_cost_more_than_the_bare_instance() -> None:
    assert price_per_hour("sagemaker", "ml.g5.xlarge", "us-east-1") > price_per_hour("ec2", "g5.xlarge", "us-east-1")


def test_unknown_prices_say_what_is_known() -> None:
    with pytest.raises(PriceError, match="it is known in eastus, eastus2, westus"):
        find_price("azure", "Standard_NC24ads_A100_v4", "westeurope")
    with pytest.raises(PriceError, match=r"known there: .*ml\.g5\.xlarge"):
        find_price("sagemaker", "ml.nothing.xlarge", "eu-west-1")
    with pytest.raises(PriceError, match="known regions"):
        find_price("ec2", "x9.xlarge", "mars")


def test_amortised_price_adds_power_and_operation() -> None:
    bare = amortised_per_gpu_hour(purchase_usd=87_600, gpus=2, years=5)
    assert bare == pytest.approx(1.0)
    whole = amortised_per_gpu_hour(
        purchase_usd=87_600, gpus=2, years=5, power_kw=2, usd_per_kwh=0.1, overhead=1.5, operation_usd_per_year=8760
    )
    assert whole == pytest.approx(1.0 + 0.15 + 0.5)
    with pytest.raises(ValueError, match="gpus must be 1 or more"):
        amortised_per_gpu_hour(purchase_usd=1, gpus=0, years=1)


def test_blended_price_weighs_by_gpus() -> None:
    assert blended_per_gpu_hour([(8.0, 8, 1), (3.0, 1, 2)]) == pytest.approx(14 / 10)
    assert blended_per_gpu_hour([(3.0, 1, 0)]) is None
