"""A value is changed in its text, and what its author wrote around it stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spillway.contracts.pulumi_yaml import dump, load
from spillway.contracts.yaml_patch import patched
from tests.stacks.files import CONFIG_DIR, REMOVE, changed

TEXT = """\
# yaml-language-server: $schema=stack-file.schema.json
config:
  # Who pays.
  spillway:owner: "ml"   # the team
  spillway:private_cluster:
    kind: eks
    gpu_pool: { instance_type: g6.12xlarge, min_nodes: 3, max_nodes: 6 }  # three nodes
  spillway:burst:
    sagemaker:
      # Never sleeps.
      min_instances: 2
      max_instances: 8

    azure_ml:
      vm_size: Standard_NC4as_T4_v3
  spillway:gateway:
"""

CHANGES: dict[str, tuple[dict[str, Any], list[tuple[str, str]] | None]] = {
    "a value": (
        {"config.spillway:burst.sagemaker.min_instances": 3},
        [("      min_instances: 2", "      min_instances: 3")],
    ),
    "in flow style": (
        {"config.spillway:private_cluster.gpu_pool.min_nodes": 5},
        [("min_nodes: 3,", "min_nodes: 5,")],
    ),
    "a key more, in flow style": (
        {"config.spillway:private_cluster.gpu_pool.disk_gib": 200},
        [("max_nodes: 6 }", "max_nodes: 6, disk_gib: 200 }")],
    ),
    "a key more": (
        {"config.spillway:burst.azure_ml.max_instances": 6},
        [("T4_v3\n", "T4_v3\n      max_instances: 6\n")],
    ),
    "a part more": (
        {"config.spillway:private_cluster.quotas": {"serving": {"gpus": 4}}},
        [("# three nodes\n", "# three nodes\n    quotas:\n      serving:\n        gpus: 4\n")],
    ),
    "a key fewer": ({"config.spillway:burst.azure_ml.vm_size": REMOVE}, None),
    "a part fewer": (
        {"config.spillway:burst.azure_ml": REMOVE},
        [("    azure_ml:\n      vm_size: Standard_NC4as_T4_v3\n", "")],
    ),
    "a key fewer, in flow style": (
        {"config.spillway:private_cluster.gpu_pool.min_nodes": REMOVE},
        [("min_nodes: 3, ", "")],
    ),
    "the last key fewer, in flow style": (
        {"config.spillway:private_cluster.gpu_pool.max_nodes": REMOVE},
        [(", max_nodes: 6", "")],
    ),
    "what was empty": (
        {"config.spillway:gateway": {"replicas": 2}},
        [("gateway:\n", "gateway: {replicas: 2}\n")],
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_nothing_else_changes(name: str) -> None:
    changes, replaced = CHANGES[name]
    value = changed(load(TEXT), changes)
    made = patched(TEXT, value)
    assert load(made) == value
    if replaced is not None:
        wanted = TEXT
        for old, new in replaced:
            wanted = wanted.replace(old, new)
        assert made == wanted


@pytest.mark.parametrize("path", sorted(CONFIG_DIR.glob("Pulumi.*.yaml")), ids=lambda path: path.stem)
def test_a_file_that_says_the_same_stays_as_it_is(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert patched(text, load(text)) == text


_LEAVES = st.one_of(
    # What is larger is a float to Pulumi's reader.
    st.integers(-(2**63), 2**64 - 1),
    st.booleans(),
    st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=6),
    st.none(),
)
_TREES = st.recursive(
    _LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text("abc:# ", max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.text("abc", min_size=1, max_size=3), _TREES, min_size=1, max_size=4), _TREES)
def test_whatever_it_becomes_it_means_what_was_wanted(old: dict[str, Any], new: Any) -> None:
    value = {**old, "new": new}
    assert load(patched(dump(old), value)) == value
