"""An ``up`` that changes the burst endpoint's shape keeps the capacity that autoscaling has given it (ADR 2)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from spillway.twin.deployer.api import DeployerError
from tests.program.emulated_sagemaker import ENDPOINT, alarm, answer_5xx, client, serving
from tests.program.site import Site, site
from tests.support.waiting import eventually

pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = site(tmp_path_factory.mktemp("local"), "local")
    try:
        made.deployer.up()
        yield made
    finally:
        made.servers.stop()


def test_a_change_of_shape_in_the_middle_of_an_overflow_keeps_the_instances(local: Site) -> None:
    first, count = serving(local)
    assert count == 1
    wanted = [{"VariantName": "primary", "DesiredInstanceCount": 2}]
    client(local).update_endpoint_weights_and_capacities(EndpointName=ENDPOINT, DesiredWeightsAndCapacities=wanted)

    assert not local.deployer.up().changed, "more instances are no change of the stack"
    assert serving(local) == (first, 1)

    slower = local.changed_to({"spillway:burst.sagemaker.container_startup_timeout_s": 1200})
    slower.up()
    second, count = serving(local)
    assert (second != first, count) == (True, 2)
    assert not slower.up().changed


def test_an_update_that_its_alarm_rolls_back_changes_nothing_and_goes_through_once_that_is_calm(local: Site) -> None:
    """The old fleet's configuration, model and package are still there, and the state does not pretend otherwise."""
    served, _ = serving(local)
    answer_5xx(local, [1.0])
    eventually(lambda: alarm(local) == "ALARM", 20, "the alarm of the rollout fires")
    slower = local.changed_to({"spillway:burst.sagemaker.container_startup_timeout_s": 1500})
    with pytest.raises(DeployerError, match=r"RollingBack.*burst-5xx"):
        slower.up()
    assert serving(local)[0] == served
    answer_5xx(local, [0.0] * 99)
    eventually(lambda: alarm(local) == "OK", 20, "the alarm is calm")
    slower.up()
    assert serving(local)[0] != served
    assert client(local).describe_endpoint_config(EndpointConfigName=served)
    assert not slower.up().changed


def test_another_instance_type_is_another_endpoint_with_the_instances_of_the_old(local: Site) -> None:
    """In place it is refused while the variant is a scalable target. What the old one served from is kept."""
    old, _ = serving(local)
    wanted = [{"VariantName": "primary", "DesiredInstanceCount": 2}]
    client(local).update_endpoint_weights_and_capacities(EndpointName=ENDPOINT, DesiredWeightsAndCapacities=wanted)

    other = local.changed_to({"spillway:burst.sagemaker.instance_type": "ml.g5.2xlarge"})
    done = other.up()
    (found,) = client(local).list_endpoints(NameContains="burst-real-time")["Endpoints"]
    assert found["EndpointName"] == "spillway-test-burst-real-time-ml-g5-2xlarge"
    config = client(local).describe_endpoint(EndpointName=found["EndpointName"])["EndpointConfigName"]
    (variant,) = client(local).describe_endpoint_config(EndpointConfigName=config)["ProductionVariants"]
    assert (variant["InstanceType"], variant["InitialInstanceCount"]) == ("ml.g5.2xlarge", 2)
    assert client(local).describe_endpoint_config(EndpointConfigName=old)["ProductionVariants"]
    follows = [r.name for r in done.resources if "burst-real-time-ml-g5-2xlarge" in str(r.inputs)]
    for name in ("burst-real-time-scaling", "burst-5xx", "gateway-config", "cost-cutoff-function"):
        assert f"spillway-test-{name}" in follows
    assert not other.up().changed
