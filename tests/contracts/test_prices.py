"""The price catalogue is whole, dated and sourced."""

from __future__ import annotations

import json
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spillway.contracts.gpus import MEMORY_MIB, MIG_SLICES
from spillway.contracts.prices import (
    TABLE,
    Price,
    PriceError,
    amortised_per_gpu_hour,
    catalogue,
    find_price,
    owned_examples,
    price_per_hour,
    stale,
    table_problems,
    with_prices,
)

REFERENCES = {"g4dn": "g4dn.xlarge", "g5": "g5.12xlarge", "g6": "g6.16xlarge", "g6e": "g6e.xlarge"}


def test_the_catalogue_is_whole() -> None:
    assert table_problems(catalogue(), date.today()) == []
    for price in catalogue():
        assert date(2025, 6, 1) <= price.read_on
        assert len(price.source) > 30
        # A T4 of Azure's cheapest spot region, and an H200 of its dearest on demand.
        assert 0.05 < price.usd_per_gpu_hour < 25, price


def test_an_h100_of_an_nc_size_is_the_nvl_with_its_own_memory_and_slices() -> None:
    """https://learn.microsoft.com/azure/virtual-machines/sizes/gpu-accelerated/ncadsh100v5-series: 94 GB each."""
    kinds = {price.instance_type: price.gpu for price in catalogue()}
    nvl = kinds["Standard_NC40ads_H100_v5"]
    assert nvl == kinds["Standard_NC80adis_H100_v5"] == "H100-NVL"
    assert 90_000 < MEMORY_MIB[nvl] < 94 * 1024
    assert "1g.12gb" in MIG_SLICES[nvl]
    assert kinds["p5.48xlarge"] == "H100"


def test_it_covers_both_clouds_and_europe() -> None:
    regions = {cloud: {p.region for p in catalogue() if p.cloud == cloud} for cloud in ("ec2", "sagemaker", "azure")}
    assert {"eu-west-1", "eu-central-1", "us-east-1", "ap-northeast-1"} <= regions["ec2"] & regions["sagemaker"]
    assert {"westeurope", "northeurope", "eastus", "swedencentral", "japaneast"} <= regions["azure"]
    assert {p.model for p in catalogue()} >= {"on_demand", "spot"}
    assert find_price("sagemaker", "ml.g6.xlarge", "us-east-1").basis == "list"


def broken(**changes: object) -> Price:
    return find_price("ec2", "g5.12xlarge", "us-east-1").model_copy(update=changes)


def test_a_faulty_table_is_told() -> None:
    good, today = find_price("ec2", "g5.12xlarge", "us-east-1"), date.today()
    assert "there twice" in table_problems([good, good], today)[0]
    assert "in the future" in table_problems([broken(read_on=today + timedelta(1))], today)[0]
    assert "not below" in table_problems([good, broken(model="spot", usd_per_hour=6.0)], today)[0]
    assert table_problems([good, broken(model="spot", usd_per_hour=2.0)], today) == []


def test_old_prices_are_stale() -> None:
    price = broken(read_on=date(2026, 1, 1), as_of=None)
    assert stale([price], date(2026, 3, 1), max_age_days=59) == []
    assert stale([price], date(2026, 3, 2), max_age_days=59) == [price]


def test_a_price_is_as_old_as_the_list_that_said_it() -> None:
    """Not as the day on which somebody copied it out of a file of two years ago."""
    copied = broken(read_on=date(2026, 11, 24), as_of=date(2024, 6, 11))
    assert stale([copied], date(2026, 11, 25)) == [copied]
    old = {price.instance_type for price in stale(catalogue(), date(2026, 11, 30))}
    assert "ml.g5.12xlarge" in old, "of a table of June 2024"
    assert "g5.12xlarge" not in old


@pytest.mark.parametrize(
    ("instance_type", "gpus", "gpu", "usd"),
    [
        ("p5.48xlarge", 8, "H100", 55.04),
        ("p5en.48xlarge", 8, "H200", 63.296),
        ("p6-b200.48xlarge", 8, "B200", 113.9328),
        ("g7e.12xlarge", 2, "RTXPRO6000", 8.28608),
        ("g6.8xlarge", 1, "L4", 2.0144),
    ],
)
def test_current_types_of_ec2_are_there(instance_type: str, gpus: int, gpu: str, usd: float) -> None:
    price = find_price("ec2", instance_type, "us-east-1")
    assert (price.gpus, price.gpu, price.usd_per_hour) == (gpus, gpu, usd)


def test_scaled_prices_follow_the_ratio_that_they_state() -> None:
    scaled = [p for p in catalogue() if p.basis == "scaled"]
    assert scaled
    for price in scaled:
        reference = REFERENCES[price.instance_type.removeprefix("ml.").partition(".")[0]]
        here, home = (price_per_hour("ec2", reference, region) for region in (price.region, "us-east-1"))
        listed = find_price(price.cloud, price.instance_type, "us-east-1")
        assert listed.basis == "list"
        assert price.usd_per_hour == pytest.approx(listed.usd_per_hour * here / home, rel=1e-4), price
        assert reference in price.source


def test_the_ratio_holds_for_other_sizes_of_a_family() -> None:
    for region in ("eu-west-1", "eu-central-1", "ap-northeast-1"):
        ratios = [
            price_per_hour("ec2", size, region) / price_per_hour("ec2", size, "us-east-1")
            for size in ("g5.12xlarge", "g5.16xlarge")
        ]
        assert ratios[0] == pytest.approx(ratios[1], rel=1e-4), "both are list prices"


def test_managed_endpoints_cost_more_than_the_bare_instance() -> None:
    bare = {p.key[1:3]: p.usd_per_hour for p in catalogue() if p.cloud == "ec2" and p.model == "on_demand"}
    managed = [p for p in catalogue() if p.cloud == "sagemaker"]
    pairs = [(p.usd_per_hour, bare.get((p.instance_type.removeprefix("ml."), p.region))) for p in managed]
    compared = [(one, other) for one, other in pairs if other is not None]
    assert len(compared) > 100
    assert all(one > other for one, other in compared)


def test_unknown_prices_say_what_is_known() -> None:
    with pytest.raises(PriceError, match=r"it is known in .*eastus, eastus2.*westeurope"):
        find_price("azure", "Standard_NC24ads_A100_v4", "mars")
    with pytest.raises(PriceError, match=r"known there: .*ml\.g5\.xlarge"):
        find_price("sagemaker", "ml.nothing.xlarge", "eu-west-1")
    with pytest.raises(PriceError, match="known regions"):
        find_price("ec2", "x9.xlarge", "mars")
    with pytest.raises(PriceError, match=r"no reserved_1y ec2 price .*prices refresh"):
        find_price("ec2", "g5.xlarge", "eu-west-1", "reserved_1y")


def test_models_have_their_own_prices() -> None:
    listed, spot = (price_per_hour("azure", "Standard_NC24ads_A100_v4", "eastus", m) for m in ("on_demand", "spot"))
    assert (listed, spot) == (3.673, 0.444433)


def test_amortised_price_adds_power_and_operation() -> None:
    bare = amortised_per_gpu_hour(purchase_usd=87_600, gpus=2, years=5)
    assert bare == pytest.approx(1.0)
    whole = amortised_per_gpu_hour(
        purchase_usd=87_600, gpus=2, years=5, power_kw=2, usd_per_kwh=0.1, overhead=1.5, operation_usd_per_year=8760
    )
    assert whole == pytest.approx(1.0 + 0.15 + 0.5)
    # A loan of 100,000 at 8 % over 4 years is paid back by 30,192.08 a year: Excel's PMT(8%, 4, -100000).
    lent = amortised_per_gpu_hour(purchase_usd=100_000, gpus=1, years=4, interest=0.08)
    assert lent * 8760 == pytest.approx(30_192.08, abs=0.01)
    with pytest.raises(ValueError, match="gpus must be 1 or more"):
        amortised_per_gpu_hour(purchase_usd=1, gpus=0, years=1)


def test_owned_examples_have_a_source() -> None:
    h100 = owned_examples()["h100-8"]
    # (310,000 ÷ 4 + 30,000) ÷ (8 × 8760) + 10.2 × 0.12 × 1.4 ÷ 8
    assert h100.usd_per_gpu_hour == pytest.approx(1.7482, abs=1e-4)
    assert "assumptions" in h100.source


def test_the_table_is_written_as_it_is_read() -> None:
    assert with_prices([]) == TABLE.read_text(encoding="utf-8")


@given(usd=st.floats(0.01, 100), model=st.sampled_from(["on_demand", "reserved_3y", "spot"]))
def test_a_fresh_price_replaces_its_own_key_and_nothing_else(usd: float, model: str) -> None:
    fresh = broken(usd_per_hour=usd, model=model, read_on=date(2026, 11, 1), source="read in a test, from nowhere")
    before, after = (json.loads(text) for text in (TABLE.read_text(encoding="utf-8"), with_prices([fresh])))
    old, new = ({tuple(row[:4]): row[4] for row in table["prices"]} for table in (before, after))
    assert new[fresh.key] == usd
    assert {k: v for k, v in new.items() if k != fresh.key} == {k: v for k, v in old.items() if k != fresh.key}
    assert after["sources"]["ec2-2026-11-01"]["text"] == fresh.source
