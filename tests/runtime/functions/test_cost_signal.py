"""The cost signal: the sums, live types and counts, and no zero for what could not be read."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spillway.contracts.function_config import CostConfig, PrivateMachines, SiteSource
from spillway.contracts.live_instances import from_json
from spillway.runtime.functions import azure as azure_api
from spillway.runtime.functions import azure_ml, cost_signal, sagemaker
from spillway.runtime.functions.cost_signal import Capacity, PriceMissingError, compute, priced
from spillway.runtime.functions.site import CapacityError, Live

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
PRIVATE = {"gpus": 8, "usd_per_hour": 4.0}
OWNED = PrivateMachines(gpus=8, usd_per_gpu_hour=0.5)
CHEAP, DEAR = "ml.g4dn.xlarge", "ml.p3.16xlarge"
PRICES = {CHEAP: (2.0, 1), DEAR: (20.0, 8)}
ENDPOINT = {"endpoints": ["burst"]}
SAGEMAKER = SiteSource("spillway.runtime.functions.sagemaker", ENDPOINT, 16.0)
CONFIG = CostConfig("prod", "g", 0.0, "/prod/live-instances", OWNED, PRICES, {"sagemaker": SAGEMAKER})


class SageMaker:
    """One endpoint. ``variants``: name -> (live instances, type); ``coming``: those of a rollout."""

    def __init__(self, **variants: tuple[int | None, str]) -> None:
        self.fleets = {"live": variants}
        self.status = "InService"

    def describe_endpoint(self, **_: Any) -> dict[str, Any]:
        found = {"EndpointStatus": self.status, **self._fleet("live")}
        return {**found, "PendingDeploymentSummary": self._fleet("coming")} if "coming" in self.fleets else found

    def _fleet(self, name: str) -> dict[str, Any]:
        listed = [{"VariantName": n, "CurrentInstanceCount": c} for n, (c, _) in self.fleets[name].items()]
        return {"EndpointConfigName": name, "ProductionVariants": listed}

    def describe_endpoint_config(self, **asked: str) -> dict[str, Any]:
        wanted = self.fleets["coming" if self.status == "Creating" else asked["EndpointConfigName"]]
        listed = [{"VariantName": n, "InstanceType": t, "InitialInstanceCount": c} for n, (c, t) in wanted.items()]
        return {"ProductionVariants": listed}


def test_signal_adds_price_times_live_instances() -> None:
    live = [Capacity("sagemaker", 3, 2.0, 1), Capacity("azure_ml", 1, 8.0, 2)]
    signal = compute(PRIVATE, live, {})
    assert signal.burst_per_hour == 14.0
    assert signal.by_site == {"azure_ml": 8.0, "sagemaker": 6.0}
    assert signal.per_gpu_hour == pytest.approx(
        {"private": 0.5, "sagemaker": 2.0, "azure_ml": 4.0, "blended": (4 + 14) / 13}
    )


capacities = st.builds(
    Capacity, st.sampled_from(["sagemaker", "azure_ml"]), st.integers(0, 50), st.floats(0.01, 100), st.integers(1, 8)
)


@given(st.lists(capacities, max_size=6), capacities)
def test_more_capacity_never_lowers_what_drives_the_cutoff(live: list[Capacity], added: Capacity) -> None:
    before, after = (compute(PRIVATE, those, {}) for those in (live, [*live, added]))
    assert after.burst_per_hour >= before.burst_per_hour


def test_site_at_zero_has_no_price_per_gpu() -> None:
    assert set(compute(PRIVATE, [Capacity("sagemaker", 0, 2.0, 1)], {}).per_gpu_hour) == {"private", "blended"}


def test_every_variant_counts_at_the_type_that_it_really_has() -> None:
    live = sagemaker.read(ENDPOINT, SageMaker(primary=(2, CHEAP), byhand=(1, DEAR)))
    assert live == [Live(CHEAP, 2), Live(DEAR, 1)]
    assert [priced(CONFIG, "sagemaker", one) for one in live] == [
        Capacity("sagemaker", 2, 2.0, 1),
        Capacity("sagemaker", 1, 20.0, 8),
    ]


def test_capacity_that_is_not_reported_or_has_no_price_is_an_error() -> None:
    for broken in (SageMaker(), SageMaker(primary=(None, CHEAP))):
        with pytest.raises(CapacityError, match=r"reports? no variant|does not report variant"):
            sagemaker.read(ENDPOINT, broken)
    with pytest.raises(PriceMissingError, match=r"1 ml\.new\.xlarge"):
        priced(CONFIG, "sagemaker", Live("ml.new.xlarge", 1))
    assert priced(CONFIG, "sagemaker", Live("ml.new.xlarge", 0)) == Capacity("sagemaker", 0, 0.0, 0)


def test_both_fleets_of_a_rollout_are_paid() -> None:
    """https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_PendingDeploymentSummary.html"""
    endpoint = SageMaker(primary=(2, CHEAP))
    endpoint.fleets["coming"] = {"primary": (1, DEAR)}
    assert sagemaker.read(ENDPOINT, endpoint) == [Live(CHEAP, 2), Live(DEAR, 1)]


def test_an_endpoint_that_is_being_made_counts_as_configured_and_a_failed_one_costs_nothing() -> None:
    endpoint = SageMaker()
    endpoint.status, endpoint.fleets["coming"] = "Failed", {}
    assert sagemaker.read(ENDPOINT, endpoint) == []
    endpoint.status, endpoint.fleets = "Creating", {"live": {}, "coming": {"primary": (2, CHEAP)}}
    assert sagemaker.read(ENDPOINT, endpoint)[0] == Live(CHEAP, 2, settled=False)


AZURE = {
    "identity": {"tenant_id": "t", "client_id": "c"},
    "machines": [
        {
            "url": "https://management.azure.com/x",
            "count": ["sku", "capacity"],
            "size": ["properties", "instanceType"],
        },
    ],
}
AZURE_ML = SiteSource("spillway.runtime.functions.azure_ml", AZURE, 30.0)


def test_azure_capacity_is_the_named_fields_or_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[Any] = [
        {"sku": {"capacity": 2}, "properties": {"instanceType": "T4"}},
        {"sku": None, "properties": {"instanceType": "T4"}},
        {"sku": {"capacity": 2}},
    ]
    monkeypatch.setattr(azure_api, "call", lambda *_: answers.pop(0))
    assert azure_ml.read(AZURE, "token") == [Live("T4", 2)]
    with pytest.raises(CapacityError, match=r"sku\.capacity"):
        azure_ml.read(AZURE, "token")
    with pytest.raises(CapacityError, match=r"properties\.instanceType"):
        azure_ml.read(AZURE, "token")


# The function as a whole


def endpoint(instance_type: str = CHEAP, count: int = 1) -> None:
    client = boto3.client("sagemaker")
    role = "arn:aws:iam::123456789012:role/r"
    client.create_model(ModelName="m", ExecutionRoleArn=role, PrimaryContainer={"Image": "i"})
    variant = {"VariantName": "primary", "ModelName": "m", "InstanceType": instance_type, "InitialInstanceCount": count}
    client.create_endpoint_config(EndpointConfigName="c", ProductionVariants=[variant])
    client.create_endpoint(EndpointName="burst", EndpointConfigName="c")


def run(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> dict[str, Any]:
    for name, value in replace(CONFIG, **changes).to_environment().items():
        monkeypatch.setenv(name, value)
    return cost_signal.handler({}, None)


def published() -> dict[tuple[str, ...], float]:
    """Newest value by metric and what it says besides the stack."""
    metrics = boto3.client("cloudwatch")
    found: dict[tuple[str, ...], float] = {}
    for metric in metrics.list_metrics(Namespace="Spillway")["Metrics"]:
        others = [d["Value"] for d in metric["Dimensions"] if d["Name"] not in ("Stack", "Gateway")]
        data = metrics.get_metric_statistics(
            Namespace="Spillway",
            MetricName=metric["MetricName"],
            Dimensions=metric["Dimensions"],
            StartTime=datetime(2020, 1, 1, tzinfo=UTC),
            EndTime=datetime(2100, 1, 1, tzinfo=UTC),
            Period=86400,
            Statistics=["Maximum"],
        )["Datapoints"]
        found[(metric["MetricName"], *others)] = max(point["Maximum"] for point in data)
    return found


def test_signal_is_published_per_stack_and_site(aws: None, monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint(count=2)
    assert run(monkeypatch)["burst"] == 4.0
    values = published()
    assert values["BurstDollarsPerHour",] == 4.0
    assert values["DollarsPerGpuHour", "blended"] == pytest.approx(8 / 10)
    assert values["CostSignalErrors",] == 0
    assert values["CostSourceErrors", "sagemaker"] == 0
    assert ("DollarsPerMillionTokens", "private") not in values, "no tokens were counted, so there is no price of one"
    assert ("BurstDollarsPerHourRise",) not in values, "there was nothing before"


def test_a_rise_is_told(aws: None, monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint(count=1)
    run(monkeypatch)
    wanted = [{"VariantName": "primary", "DesiredInstanceCount": 6}]
    boto3.client("sagemaker").update_endpoint_weights_and_capacities(
        EndpointName="burst", DesiredWeightsAndCapacities=wanted
    )
    run(monkeypatch)
    assert published()["BurstDollarsPerHourRise",] == 10.0


def test_a_failed_read_names_its_source_and_counts_at_its_largest(aws: None, monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint()
    with pytest.raises(CapacityError, match="azure_ml"):
        run(monkeypatch, sites={"sagemaker": SAGEMAKER, "azure_ml": AZURE_ML})
    values = published()
    assert values["CostSignalErrors",] == 1
    assert (values["CostSourceErrors", "azure_ml"], values["CostSourceErrors", "sagemaker"]) == (1, 0)
    assert values["BurstDollarsPerHour",] == 2 + 30
    assert (values["AssumedDollarsPerHour", "azure_ml"], values["AssumedDollarsPerHour", "sagemaker"]) == (30, 0)
    assert values["BurstDollarsPerHour", "sagemaker"] == 2
    assert ("BurstDollarsPerHour", "azure_ml") not in values, "it was not read"
    assert "DollarsPerGpuHour" not in {key[0] for key in values}


def test_a_site_that_falls_silent_costs_for_five_minutes_what_it_did_last(
    aws: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint()
    answer = {"sku": {"capacity": 4}, "properties": {"instanceType": CHEAP}}
    monkeypatch.setattr(azure_api, "token", lambda _: "token")
    monkeypatch.setattr(azure_api, "call", lambda *_: answer)
    boto3.client("ssm").put_parameter(Name=CONFIG.live_parameter, Value="{}", Type="String")
    run(monkeypatch, sites={"azure_ml": AZURE_ML})
    answer.clear()
    with pytest.raises(CapacityError):
        run(monkeypatch, sites={"azure_ml": AZURE_ML})
    assert published()["AssumedDollarsPerHour", "azure_ml"] == 8.0


def test_gateways_are_told_of_azures_instances_though_the_signal_fails(
    aws: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = {"sku": {"capacity": 4}, "properties": {"instanceType": "unpriced", "provisioningState": "Succeeded"}}
    monkeypatch.setattr(azure_api, "call", lambda *_: answer)
    monkeypatch.setattr(azure_api, "token", lambda _: "token")
    boto3.client("ssm").put_parameter(Name=CONFIG.live_parameter, Value="{}", Type="String")
    asked = {**AZURE, "machines": [{**AZURE["machines"][0], "percent": 100}]}
    with pytest.raises(CapacityError, match="price is not known"):
        run(monkeypatch, sites={"azure_ml": replace(AZURE_ML, asked=asked)})
    text = boto3.client("ssm").get_parameter(Name=CONFIG.live_parameter)["Parameter"]["Value"]
    assert from_json(text)["azure_ml"].instances == 4


def test_a_missing_price_has_its_own_metric(aws: None, monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint("ml.p3.2xlarge")
    with pytest.raises(CapacityError, match="price is not known"):
        run(monkeypatch)
    assert published()["PricesMissing",] == 1


def tell(**values: float) -> None:
    dimensions = [{"Name": "Gateway", "Value": "g"}]
    data = [{"MetricName": name, "Value": value, "Dimensions": dimensions} for name, value in values.items()]
    boto3.client("cloudwatch").put_metric_data(Namespace="Spillway", MetricData=data)


def test_the_private_cluster_says_what_is_up(aws: None, monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint()
    counted = replace(OWNED, gpus_per_server=2)
    with pytest.raises(CapacityError, match="has not said"):
        run(monkeypatch, private=counted)
    tell(PrivateServers=3)
    assert run(monkeypatch, private=counted)["per_gpu"]["private"] == pytest.approx(4 / 6), "two GPUs of eight are down"
    tell(PrivateServers=4)
    elastic = run(monkeypatch, private=replace(counted, gpus=2, elastic=True))
    assert elastic["per_gpu"]["private"] == 0.5, "paid by the node"


def test_tokens_that_the_private_cluster_counts_have_a_price(aws: None, monkeypatch: pytest.MonkeyPatch) -> None:
    endpoint()
    tell(PrivateTokensPerMinute=100_000)
    run(monkeypatch)
    # 4 $/h for 6 million tokens an hour.
    assert published()["DollarsPerMillionTokens", "private"] == pytest.approx(4 / 6)
