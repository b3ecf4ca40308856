"""A package as a ModelPack image: what the published schemas ask for, the same bytes each time, and back unchanged."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft4Validator, Draft202012Validator, FormatChecker
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT4

from model_packaging.registry import oci
from spillway.contracts.manifest import PackageError, Provenance, read_manifest, verify_package
from spillway.contracts.trt_engines import verify_engines
from tests.model_packaging.packages import L4, L40S, add_engine, make_version, reseal, version_of

SCHEMAS = Path(__file__).parent / "schemas"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    made = Provenance(built_at="2026-05-04T03:02:01Z", git_commit="0" * 40)
    return reseal(make_version(tmp_path / "made", "one"), provenance=made)


def blob(layout: Path, digest: str) -> bytes:
    data = (layout / "blobs" / "sha256" / digest.removeprefix("sha256:")).read_bytes()
    assert hashlib.sha256(data).hexdigest() == digest.removeprefix("sha256:")
    return data


def image_of(layout: Path) -> dict[str, Any]:
    index = json.loads((layout / "index.json").read_text())
    return json.loads(blob(layout, index["manifests"][0]["digest"]))


def oci_validator(name: str) -> Draft4Validator:
    files = {path.name: json.loads(path.read_text()) for path in (SCHEMAS / "oci").glob("*.json")}
    base = "https://opencontainers.org/schema/"
    # The schemas refer to each other by file name, some from an id that is one level deeper.
    resources = [
        (f"{prefix}{file}", Resource(contents=schema, specification=DRAFT4))
        for file, schema in files.items()
        for prefix in (base, f"{base}image/", f"{base}image/index/", f"{base}image/manifest/", "")
    ]
    return Draft4Validator(files[name], registry=Registry().with_resources(resources))


def test_every_document_holds_the_published_schema(package: Path, tmp_path: Path) -> None:
    layout = tmp_path / "layout"
    digest = oci.export(package, layout)
    index = json.loads((layout / "index.json").read_text())
    image = json.loads(blob(layout, digest))
    oci_validator("image-layout-schema.json").validate(json.loads((layout / "oci-layout").read_text()))
    oci_validator("image-index-schema.json").validate(index)
    oci_validator("image-manifest-schema.json").validate(image)
    config = json.loads(blob(layout, image["config"]["digest"]))
    schema = json.loads((SCHEMAS / "modelpack" / "config-schema.json").read_text())
    Draft202012Validator(schema, format_checker=FormatChecker()).validate(config)
    assert index["manifests"][0]["digest"] == digest
    assert image["artifactType"] == "application/vnd.cncf.model.manifest.v1+json"
    assert image["config"]["mediaType"] == "application/vnd.cncf.model.config.v1+json"
    assert config["descriptor"]["version"] == version_of(package)
    assert config["descriptor"]["createdAt"] == "2026-05-04T03:02:01Z"
    # Raw layers are their own uncompressed content.
    assert config["modelfs"]["diffIds"] == [layer["digest"] for layer in image["layers"]]
    for layer in image["layers"]:
        assert len(blob(layout, layer["digest"])) == layer["size"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda config: config.pop("modelfs"),
        lambda config: config["modelfs"].update(diffIds=[]),
        lambda config: config["descriptor"].update(createdAt=5),
        lambda config: config["config"].update(surprise=1),
    ],
)
def test_the_published_schema_refuses_what_is_wrong(
    package: Path, tmp_path: Path, damage: Callable[[dict[str, Any]], Any]
) -> None:
    oci.export(package, tmp_path / "layout")
    config = json.loads(blob(tmp_path / "layout", image_of(tmp_path / "layout")["config"]["digest"]))
    damage(config)
    schema = json.loads((SCHEMAS / "modelpack" / "config-schema.json").read_text())
    assert list(Draft202012Validator(schema).iter_errors(config))


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("triton/m/1/model.onnx", "weight"),
        ("vllm/model.safetensors", "weight"),
        ("vllm/config.json", "weight.config"),
        ("triton/m/config.pbtxt", "weight.config"),
        ("triton/m/1/model.py", "code"),
        ("vllm/LICENSE", "doc"),
        ("vllm/README.md", "doc"),
    ],
)
def test_layers_have_the_kind_that_they_are(path: str, kind: str) -> None:
    assert oci.media_type(path) == f"application/vnd.cncf.model.{kind}.v1.raw"


def test_the_same_package_gives_the_same_bytes(package: Path, tmp_path: Path) -> None:
    other = shutil.copytree(package, tmp_path / "elsewhere")
    assert oci.export(package, tmp_path / "one") == oci.export(other, tmp_path / "two")
    contents = [
        {
            path.relative_to(tmp_path / name).as_posix(): path.read_bytes()
            for path in (tmp_path / name).rglob("*")
            if path.is_file()
        }
        for name in ("one", "two")
    ]
    assert contents[0] == contents[1]


def test_back_again_it_is_the_same_package(package: Path, tmp_path: Path) -> None:
    add_engine(package, L4, b"a plan", b"a repository")
    add_engine(package, L40S, b"another plan")
    oci.export(package, tmp_path / "layout", engines_for=[L4.folder])
    back = oci.import_layout(tmp_path / "layout", tmp_path / "store")
    assert back == tmp_path / "store" / "echo" / version_of(package)
    assert verify_package(back) == read_manifest(package)
    assert [record.key for record in verify_engines(back)] == [L4]
    assert oci.import_layout(tmp_path / "layout", tmp_path / "store", version_of(package)) == back


def test_nothing_is_overwritten(package: Path, tmp_path: Path) -> None:
    (tmp_path / "layout").mkdir()
    with pytest.raises(PackageError, match="nothing is overwritten"):
        oci.export(package, tmp_path / "layout")


def first_layer(layout: Path) -> Path:
    return layout / "blobs" / "sha256" / image_of(layout)["layers"][0]["digest"].removeprefix("sha256:")


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda layout: first_layer(layout).write_text("x"), "was changed"),
        (lambda layout: first_layer(layout).unlink(), "is missing"),
        (lambda layout: (layout / "index.json").unlink(), "Is this an OCI image layout"),
        (lambda layout: (layout / "index.json").write_text('{"manifests": []}'), "0 images fit"),
        (
            lambda layout: (layout / "index.json").write_text('{"manifests": [{"digest": "sha256:00"}]}'),
            "cannot be read",
        ),
        (lambda layout: (layout / "index.json").write_text("[]"), "is no ModelPack image"),
    ],
)
def test_a_damaged_layout_is_refused_and_leaves_nothing(
    package: Path, tmp_path: Path, damage: Callable[[Path], object], named: str
) -> None:
    oci.export(package, tmp_path / "layout")
    damage(tmp_path / "layout")
    with pytest.raises(PackageError, match=named):
        oci.import_layout(tmp_path / "layout", tmp_path / "store")
    assert {path.name for path in (tmp_path / "store").rglob("*")} <= {"echo", ".lock"}
