"""The rehearsed `prod` taken through changes and a deletion: planned steps, refusals, and the order of deletion."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from spillway.twin.deployer.api import Event, Step
from tests.program.site import PREFIX, Site, site
from tests.stacks.files import changed, deployer, project
from tests.support.packages import small_package

pytestmark = [pytest.mark.heavy, pytest.mark.soak]

UNPROTECTED = {"spillway:protect_data": False}


@pytest.fixture(scope="module")
def prod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = site(tmp_path_factory.mktemp("prod"), "prod")
    try:
        made.changed_to(UNPROTECTED).up()
        yield made
    finally:
        made.servers.stop()


def steps(made: Site, changes: dict[str, Any]) -> dict[str, Step]:
    """What would be done, by the resource's type and name."""
    plan = made.changed_to({**UNPROTECTED, **changes}).preview()
    return {f"{s.type} {s.name.removeprefix(PREFIX)}": s for s in plan.steps if s.op not in ("same", "read")}


def test_naming_no_admin_any_more_does_not_replace_the_cluster(prod: Site) -> None:
    planned = steps(prod, {"spillway:private_cluster.admin_role_arns": []})
    assert "aws:eks/cluster:Cluster cluster" not in planned
    assert {step.op for key, step in planned.items() if key.startswith("aws:eks/access")} == {"delete"}


def test_a_new_package_leaves_the_old_fleets_right_as_it_is(prod: Site, tmp_path: Path) -> None:
    planned = steps(prod, {"spillway:package.path": str(small_package(tmp_path / "package"))})
    assert planned["aws:sagemaker/endpoint:Endpoint burst-real-time"].op == "update"
    assert "aws:iam/rolePolicy:RolePolicy burst-role-policy" not in planned
    # The old one is kept in SageMaker: the endpoint may roll back to it.
    assert planned["aws:sagemaker/model:Model burst-model"].op == "replace"


def test_another_stack_name_is_another_stack(prod: Site) -> None:
    """No resource keeps its URN, and none of a fixed name is shared but those that are listed as open."""
    planned = steps(prod, {"spillway:name": "vision"})
    made = [step for step in planned.values() if step.op == "create" and not step.type.startswith("pulumi:")]
    assert made
    assert all(step.name.startswith("vision-test-") for step in made)


def test_another_instance_type_makes_another_endpoint_and_its_own_target(prod: Site) -> None:
    planned = steps(prod, {"spillway:burst.sagemaker.instance_type": "ml.g5.2xlarge"})
    assert planned["aws:sagemaker/endpoint:Endpoint burst-real-time"].op == "replace"
    assert planned["aws:appautoscaling/target:Target burst-real-time-scaling"].op == "replace"


def test_another_size_of_azure_ml_makes_another_deployment(prod: Site) -> None:
    """Azure changes no size of one that is there, and deletes none that has traffic: the new one comes first."""
    larger = {"spillway:burst.azure_ml.vm_size": "Standard_NC8as_T4_v3"}
    kind = "azure-native:machinelearningservices:OnlineDeployment"
    assert [step.op for name, step in steps(prod, larger).items() if name.startswith(kind)] == ["replace"]
    prod.changed_to({**UNPROTECTED, **larger}).up()
    prod.changed_to(UNPROTECTED).up()


def test_destroy_takes_the_users_before_their_rights_and_roads(prod: Site) -> None:
    gone: list[str] = []

    def record(event: Event) -> None:
        if event.kind == "done" and event.op == "delete":
            gone.append(f"{event.type.rpartition(':')[2]} {event.name.removeprefix(PREFIX)}")

    folder = project(prod.folder, changed(prod.config, UNPROTECTED))
    deployer(folder, prod.servers.stand_ins(), record).destroy()
    at = {name: index for index, name in enumerate(gone)}
    objects = [index for name, index in at.items() if name.startswith(("Namespace ", "Release ", "Deployment gateway"))]
    for earlier, later in (
        ("NodeGroup gpu", "RolePolicyAttachment node-AmazonEKSWorkerNodePolicy"),
        ("Cluster cluster", "RolePolicyAttachment cluster-AmazonEKSClusterPolicy"),
        ("NodeGroup system", "Route private-us-east-1a-default"),
        ("Service standby", "Route private-us-east-1b-default"),
        ("Service standby", "RolePolicy standby-execution-policy"),
        ("Endpoint burst-real-time", "SecurityGroupEgressRule burst-sg-s3"),
        ("Addon vpc-cni", "RolePolicyAttachment vpc-cni-AmazonEKS_CNI_Policy"),
        ("Workspace azureml-workspace", "RoleAssignment azureml-registry-acr-pull"),
    ):
        assert at[earlier] < at[later], (earlier, later)
    assert max(objects) < min(at[name] for name in at if name.startswith(("AccessEntry ", "AccessPolicyAssociation ")))
    assert max(objects) < at["Instance deployer"]
    # It went with its endpoint.
    assert "OnlineDeployment azureml-deployment" not in at
