"""What the cost signal tells gateways that cannot ask a site themselves."""

from __future__ import annotations

import boto3
import pytest

from spillway.contracts.live_instances import FRESH_S, LiveCount, from_json, to_json
from spillway.runtime.functions.gateway_capacity import as_a_whole, publish_live
from spillway.runtime.functions.site import Live

PARAMETER = "/prod/live-instances"
SIZE = "Standard_NC4as_T4_v3"


def serving(instances: int, percent: int = 100, settled: bool = True) -> Live:
    return Live(SIZE, instances, percent, settled)


def test_a_split_lets_as_many_work_as_its_tightest_deployment() -> None:
    # Of ten requests nine go to the first: with nine instances there, one on the second has just its share.
    assert as_a_whole([serving(9, 90), serving(1, 10)]) == 10
    assert as_a_whole([serving(9, 90), serving(5, 10)]) == 10
    assert as_a_whole([serving(3, 90), serving(1, 10)]) == pytest.approx(10 / 3)
    assert as_a_whole([serving(2), Live(SIZE, 4)]) == 2, "a mirror answers nobody"
    assert as_a_whole([Live("ml.g5.xlarge", 4)]) is None, "gateways ask that site themselves"


@pytest.fixture
def ssm(aws: None):
    client = boto3.client("ssm")
    client.put_parameter(Name=PARAMETER, Value=to_json({}), Type="String")
    return client


def told(ssm) -> dict[str, LiveCount]:
    return from_json(ssm.get_parameter(Name=PARAMETER)["Parameter"]["Value"])


def test_instances_that_are_still_coming_answer_nothing_yet(ssm) -> None:
    """Resource Manager names the wanted number from the start of the scaling on, and the state says whether it is
    reached (provisioningState Scaling: learn.microsoft.com/rest/api/azureml/online-deployments/get)."""
    publish_live(ssm, PARAMETER, {"azure_ml": [serving(2)]}, now=60)
    publish_live(ssm, PARAMETER, {"azure_ml": [serving(6, settled=False)]}, now=120)
    assert told(ssm) == {"azure_ml": LiveCount(2, 120)}
    publish_live(ssm, PARAMETER, {"azure_ml": [serving(6)]}, now=180)
    assert told(ssm) == {"azure_ml": LiveCount(6, 180)}
    publish_live(ssm, PARAMETER, {"azure_ml": [serving(3, settled=False)]}, now=240)
    assert told(ssm) == {"azure_ml": LiveCount(3, 240)}, "those that go take no more requests"


def test_a_site_that_could_not_be_read_keeps_its_count_until_it_is_old(ssm) -> None:
    publish_live(ssm, PARAMETER, {"azure_ml": [serving(2)]}, now=60)
    publish_live(ssm, PARAMETER, {}, now=120)
    count = told(ssm)["azure_ml"]
    assert count == LiveCount(2, 60)
    assert count.is_fresh(60 + FRESH_S)
    assert not count.is_fresh(61 + FRESH_S)


@pytest.mark.parametrize("text", ["", "[]", "3", '{"azure_ml": 3}', '{"azure_ml": {"instances": 3}}'])
def test_what_are_no_counts_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be JSON such as"):
        from_json(text)
