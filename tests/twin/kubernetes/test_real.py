"""What a real control plane needs and keeps; it runs in tests/kubernetes."""

from __future__ import annotations

from pathlib import Path

import pytest

from spillway.twin.kubernetes.real.control_plane import ControlPlane
from spillway.twin.kubernetes.real.door import POOLS, boot_id
from spillway.twin.kubernetes.real.nodes import nodes
from spillway.twin.kubernetes.real.programs import NAMES, need_programs
from spillway.twin.kubernetes.schema import Catalogue
from spillway.twin.tools import ToolMissingError


def test_who_has_not_built_it_is_told_how(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(ToolMissingError, match=r"python scripts/kubernetes_control_plane\.py"):
        need_programs()
    for name in NAMES:
        (ControlPlane(tmp_path / "cluster").programs / name).parent.mkdir(parents=True, exist_ok=True)
        (ControlPlane(tmp_path / "cluster").programs / name).touch(mode=0o755)
    need_programs()


def test_a_cluster_is_the_same_as_long_as_its_data_are_there(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    other.mkdir()
    assert boot_id(one) == boot_id(one) != boot_id(other)


@pytest.mark.parametrize("pool", POOLS)
def test_nodes_are_nodes(pool: str) -> None:
    """By the published schema, with GPUs behind the taint that the stacks' servers tolerate."""
    catalogue = Catalogue()
    kind = catalogue.find("v1", "Node")
    assert kind is not None
    made = list(nodes(*POOLS[pool], pool))
    assert [error for node in made for error in catalogue.errors(kind, node)] == []
    for node in made:
        gpus = {name for name in node["status"]["allocatable"] if name.endswith("/gpu")}
        assert {taint["key"] for taint in node["spec"]["taints"]} == gpus
