"""The support table: every supported cell is planned by the real program, every other is refused with its reason."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

from stacks.errors import StackConfigError
from stacks.stack_file import read_settings
from stacks.support import Cell, table
from tests.stacks.files import ROOT, changed, example, flat
from tests.support.packages import small_package
from tests.support.plans import preview

S = "spillway:"
CERTIFICATE = "arn:aws:acm:us-east-1:123456789012:certificate/00000000-0000-4000-8000-000000000003"
CLUSTERS = {
    "eks": {"kind": "eks", "gpu_pool": {"instance_type": "g6.xlarge"}},
    "aks": {"kind": "aks", "admin_group_ids": ["g"], "gpu_pool": {"vm_size": "Standard_NC4as_T4_v3"}},
    "existing": {"kind": "existing", "kubeconfig_secret": "kubeconfig", "usd_per_node_hour": 1.0},
}
CELLS = table()
SUPPORTED = [cell for cell in CELLS if cell.refused is None]
REFUSED = [cell for cell in CELLS if cell.refused is not None]


def name(cell: Cell) -> str:
    return f"{cell.cluster}-{'+'.join(cell.burst) or 'none'}-{cell.dns}"


def stack_of(cell: Cell, package: Path) -> dict[str, Any]:
    config = example("local")
    burst = {site: config[f"{S}burst"][site] for site in cell.burst}
    connectivity: dict[str, Any] = {
        "existing": config[f"{S}connectivity"],
        "aks": {"deployer": "authorised_cidrs", "deployer_cidrs": ["198.51.100.0/24"]},
    }
    return changed(
        config,
        {
            f"{S}package.path": str(package),
            f"{S}private_cluster": CLUSTERS[cell.cluster],
            f"{S}connectivity": connectivity.get(cell.cluster, {}),
            f"{S}burst": burst,
            f"{S}dns": {"provider": cell.dns, "zone_name": "spillway.test"},
            f"{S}gateway.standby": {"certificate_arn": CERTIFICATE},
        },
    )


def test_the_table_has_every_combination_once() -> None:
    assert len({name(cell) for cell in CELLS}) == len(CELLS) == 3 * 4 * 2
    assert len(SUPPORTED) + len(REFUSED) == len(CELLS)
    assert all(cell.standby and cell.queue and cell.cost_function and cell.secrets for cell in SUPPORTED)


@pytest.mark.parametrize("cell", REFUSED, ids=name)
def test_a_refused_cell_says_why(tmp_path: Path, cell: Cell) -> None:
    config = stack_of(cell, small_package(tmp_path / "package"))
    with pytest.raises(StackConfigError) as caught:
        read_settings(flat(config))
    (problem,) = caught.value.problems
    assert problem.advice == cell.refused
    assert problem.given == f"private_cluster {cell.cluster}, burst {cell.burst_said}, dns {cell.dns}"


@pytest.mark.heavy
@pytest.mark.parametrize("cell", SUPPORTED, ids=name)
def test_a_supported_cell_is_planned(tmp_path: Path, cell: Cell) -> None:
    config = stack_of(cell, small_package(tmp_path / "package"))
    plan = preview(tmp_path / "project", config)

    types = {resource.type for resource in plan.resources if resource.custom}
    assert set(plan.changes) == {"create"}
    assert ("aws:sagemaker/endpoint:Endpoint" in types) == ("sagemaker" in cell.burst)
    online = "azure-native:machinelearningservices:OnlineEndpoint"
    assert (online in types) == ("azure_ml" in cell.burst)
    assert ("aws:eks/cluster:Cluster" in types) == (cell.cluster == "eks")
    assert ("azure-native:containerservice:ManagedCluster" in types) == (cell.cluster == "aks")
    assert ("aws:route53/record:Record" in types) == (cell.dns == "route53")
    assert any("trafficmanager" in t.lower() or "network:Profile" in t for t in types) == (cell.dns != "route53")
    assert "aws:ecs/service:Service" in types
    assert "kubernetes:apps/v1:Deployment" in types


def test_the_program_has_no_branch_on_a_stacks_name() -> None:
    """Neither the name nor what is derived from it (the context's prefix) may decide what is deployed."""
    named = {"stack", "get_stack", ".stack", ".prefix", ".get_stack"}
    for path in sorted((ROOT / "stacks").glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            for test in _conditions(node):
                words = {n.id for n in ast.walk(test) if isinstance(n, ast.Name)}
                words |= {f".{n.attr}" for n in ast.walk(test) if isinstance(n, ast.Attribute)}
                texts = {n.value for n in ast.walk(test) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
                assert not words & named, f"{path.name}:{test.lineno} decides by {words & named}"
                assert not texts & {"local", "dev", "prod"}, f"{path.name}:{test.lineno} names a stack"


def _conditions(node: ast.AST) -> list[ast.expr]:
    match node:
        case ast.If() | ast.IfExp() | ast.While() | ast.Assert():
            return [node.test]
        case ast.Match():
            return [node.subject, *(case.guard for case in node.cases if case.guard)]
        case ast.comprehension():
            return node.ifs
        case ast.Compare() | ast.BoolOp():
            return [node]
        case _:
            return []
