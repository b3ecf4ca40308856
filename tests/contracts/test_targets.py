"""The table of serving containers: every cell is of its kind, and every row says where it comes from."""

from __future__ import annotations

import json
import re

import pytest
from onnx.helper import VERSION_TABLE

from components.burst.sagemaker.images import TABLE
from components.model_server.settings import ModelServerSettings
from spillway.contracts.targets import CONTAINERS, DEFAULT_TARGETS, Container, ContainerKind, onnx_level

TRITON = [row for row in CONTAINERS.values() if row.kind in (ContainerKind.NGC_TRITON, ContainerKind.SAGEMAKER_TRITON)]


@pytest.mark.parametrize("row", CONTAINERS.values(), ids=CONTAINERS)
def test_each_cell_is_a_version_and_its_opset_and_ir_are_of_one_onnx_release(row: Container) -> None:
    for cell in (row.triton, row.cuda, row.onnx_runtime):
        assert re.fullmatch(r"(\d+(\.\d+){1,2})?", cell), cell
    assert re.fullmatch(r"(\d+\.\d+\.\d+(\.\d+)?)?", row.tensorrt)
    assert re.fullmatch(r"(\d{3})?", row.driver)
    assert (row.ir, row.opset) in {(ir, opset) for _, ir, opset, *_ in VERSION_TABLE}


@pytest.mark.parametrize("row", TRITON, ids=lambda row: row.name)
def test_a_row_of_triton_names_its_documents(row: Container) -> None:
    assert f"build.py at branch r{row.tag} (Triton, ONNX Runtime)" in row.source
    assert re.search(r"(rel-\d\d-\d\d\.html|\.md at branch \S+) \(CUDA, driver\)", row.source)
    assert ("(TensorRT)" in row.source) == bool(row.tensorrt)


def test_newer_releases_take_no_less() -> None:
    for kind in (ContainerKind.NGC_TRITON, ContainerKind.SAGEMAKER_TRITON):
        levels = [(row.opset, row.ir) for row in sorted(TRITON, key=lambda row: row.tag) if row.kind is kind]
        assert levels == sorted(levels)


def test_each_sagemaker_image_that_a_stack_can_name_has_a_row() -> None:
    table = json.loads(TABLE.read_text())
    tags = set(table["containers"]["triton"])
    assert tags == {row.tag for row in TRITON if row.kind is ContainerKind.SAGEMAKER_TRITON}


def test_the_image_that_a_stack_serves_with_by_default_is_a_default_target() -> None:
    tag = ModelServerSettings().triton_image.rpartition(":")[2].removesuffix("-py3")
    assert f"{ContainerKind.NGC_TRITON}-{tag}" in DEFAULT_TARGETS
    assert (onnx_level(DEFAULT_TARGETS).opset, onnx_level(DEFAULT_TARGETS).ir) == (19, 9)


def test_an_unknown_container_is_named_with_what_exists() -> None:
    with pytest.raises(KeyError, match=r"ngc-triton-20\.01.*known: ngc-triton-23\.12"):
        onnx_level(["ngc-triton-20.01"])
