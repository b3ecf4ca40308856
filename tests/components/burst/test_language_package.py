"""A language model's package as the packager writes it, in the components that serve it."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from components.connectivity.settings import MirrorSettings
from components.model_server.server import FETCH_FOLDER, ModelServer, ModelServerArgs
from components.model_server.settings import CacheVolume, ModelServerSettings
from components.model_server.shared_cache import once
from model_packaging.build import package
from model_packaging.config import parse_config
from spillway.contracts.classes import Site
from spillway.contracts.manifest import VLLM_CHECKSUMS, Manifest, read_manifest
from spillway.contracts.targets import Layout
from spillway.contracts.vllm_serving import arguments
from stacks.package import Package
from tests.model_packaging import tiny_language
from tests.support.recording import context, of_type, record


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tiny_language.write_model(tmp_path_factory.mktemp("tiny") / "tiny-llama")
    config = parse_config(tiny_language.settings(folder), base_dir=folder)
    return package(config, tmp_path_factory.mktemp("store")).path


@pytest.fixture(scope="module")
def manifest(built: Path) -> Manifest:
    return read_manifest(built)


def server_args(manifest: Manifest, **settings: Any) -> ModelServerArgs:
    return ModelServerArgs(
        settings=ModelServerSettings(**settings),
        mirror=MirrorSettings(),
        accelerator="nvidia",
        kind=manifest.kind,
        entry_model=manifest.entry_model,
        package_uri="s3://models/packages/tiny/v1/vllm/",
        package_sha256=manifest.delivery(Layout.TRITON).sha256,
        aws_region="eu-west-1",
        priority_class="spillway-test-p0",
        slots=4,
        cpu="4",
        memory="16Gi",
        role_arn="arn:aws:iam::123456789012:role/model-server",
        vllm_arguments=arguments(manifest),
    )


def test_model_server_starts_vllm_with_the_packages_settings(manifest: Manifest) -> None:
    found = record(lambda: ModelServer(context(), server_args(manifest)))
    pod = of_type(found, "kubernetes:apps/v1:Deployment")[0].inputs["spec"]["template"]["spec"]
    command = pod["containers"][0]["command"]
    assert command[:3] == ["vllm", "serve", "/cache/repository"]
    given = {word: command[at + 1] for at, word in enumerate(command[:-1]) if word.startswith("--")}
    assert manifest.language is not None
    assert given["--max-num-seqs"] == str(manifest.language.max_num_seqs)
    assert given["--scheduling-policy"] == "priority"
    assert given["--max-num-queued-reqs"] == str(manifest.serving.max_concurrency)
    assert given["--shutdown-timeout"] == "60"
    # No other file of the package says how it is served: one list, the same on every site.
    assert "--config" not in command
    assert pod["initContainers"][0]["command"][-1] == FETCH_FOLDER
    digests = {file.path: file.sha256 for file in manifest.files}
    assert {"name": "SPILLWAY_PACKAGE_SHA256", "value": digests[VLLM_CHECKSUMS]} in pod["initContainers"][0]["env"]


def test_servers_that_share_a_cache_have_a_folder_of_it_by_the_packages_digest(manifest: Manifest) -> None:
    """What is compiled lies under the same folder as the package (``VLLM_CACHE_ROOT``)."""
    shared = CacheVolume(size="200Gi", storage_class="efs", shared=True)
    found = record(lambda: ModelServer(context(), server_args(manifest, cache=shared)))
    claim = of_type(found, "kubernetes:core/v1:PersistentVolumeClaim")[0].inputs
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    pod = of_type(found, "kubernetes:apps/v1:Deployment")[0].inputs["spec"]["template"]["spec"]
    volume = next(each for each in pod["volumes"] if each["name"] == "cache")
    assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    mounts = [
        m for c in (*pod["initContainers"], *pod["containers"]) for m in c["volumeMounts"] if m["name"] == "cache"
    ]
    assert {(m["mountPath"], m["subPath"]) for m in mounts} == {("/cache", manifest.delivery(Layout.TRITON).sha256)}
    assert pod["initContainers"][0]["command"][-1] == once(FETCH_FOLDER)


def test_a_shared_cache_needs_a_class_for_many_nodes() -> None:
    with pytest.raises(ValidationError, match="ReadWriteMany"):
        CacheVolume(shared=True)


def test_of_servers_that_start_together_one_fetches_and_the_others_wait_for_it(
    built: Path, manifest: Manifest, tmp_path: Path
) -> None:
    digest, cache = manifest.delivery(Layout.TRITON).sha256, tmp_path / "cache"
    cache.mkdir()
    log = tmp_path / "fetched"
    with ThreadPoolExecutor(4) as pool:
        ended = list(pool.map(lambda _: fetch(built / "vllm", digest, cache, once(FETCH_FOLDER), log), range(4)))
    assert ended == [0, 0, 0, 0]
    assert log.read_text().splitlines() == ["models/packages/tiny/v1/vllm/"]
    assert (cache / "repository" / VLLM_CHECKSUMS.partition("/")[2]).is_file()


def test_a_fetch_that_failed_is_begun_again(built: Path, manifest: Manifest, tmp_path: Path) -> None:
    digest, cache = manifest.delivery(Layout.TRITON).sha256, tmp_path / "cache"
    cache.mkdir()
    broken = Path(shutil.copytree(built / "vllm", tmp_path / "broken"))
    _change(broken)
    assert fetch(broken, digest, cache, once(FETCH_FOLDER)) != 0
    assert fetch(built / "vllm", digest, cache, once(FETCH_FOLDER)) == 0


def fetch(folder: Path, digest: str, cache: Path, script: str = FETCH_FOLDER, log: Path = Path(os.devnull)) -> int:
    """Run the very script, on another folder and with an rclone that copies from this machine's disk."""
    tools = Path(tempfile.mkdtemp(dir=cache.parent))
    (tools / "rclone").write_text(f'#!/bin/sh\necho "$PACKAGE_OBJECT" >>{log}\ncp -r {folder}/. "$3"\n')
    (tools / "rclone").chmod(0o755)
    environment = {
        "PATH": f"{tools}:{os.environ['PATH']}",
        "AWS_REGION": "eu-west-1",
        "PACKAGE_OBJECT": "models/packages/tiny/v1/vllm/",
        "SPILLWAY_PACKAGE_SHA256": digest,
    }
    here = script.replace("/cache", str(cache))
    return subprocess.run(["/bin/sh", "-c", here], env=environment, check=False, capture_output=True).returncode


def test_the_private_site_takes_the_whole_folder_and_nothing_else(
    built: Path, manifest: Manifest, tmp_path: Path
) -> None:
    digest, cache = manifest.delivery(Layout.TRITON).sha256, tmp_path / "cache"
    cache.mkdir()
    assert fetch(built / "vllm", digest, cache) == 0
    served = {path.name for path in (cache / "repository").iterdir()}
    assert served == {path.name for path in (built / "vllm").iterdir()}

    for name, change in {"changed": _change, "missing": _remove, "extra": _add}.items():
        folder = Path(shutil.copytree(built / "vllm", tmp_path / name))
        change(folder)
        other = tmp_path / f"cache-{name}"
        other.mkdir()
        assert fetch(folder, digest, other) != 0
        assert not (other / "repository").exists()
    assert fetch(built / "vllm", "0" * 64, cache) != 0


def _change(folder: Path) -> None:
    (folder / "config.json").write_text("{}")


def _remove(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


def _add(folder: Path) -> None:
    (folder / "model.py").write_text("print('not packaged')")


def test_the_model_store_uploads_what_vllm_needs(built: Path, manifest: Manifest) -> None:
    from components.model_store.aws import AwsModelStore, AwsModelStoreArgs
    from components.model_store.settings import ModelStoreSettings

    args = AwsModelStoreArgs(
        settings=ModelStoreSettings(),
        region="eu-west-1",
        account_id="123456789012",
        package_dir=built,
        manifest=manifest,
        contents={
            site: Package(manifest, built).content(site, layout)
            for site, layout in ((Site.PRIVATE, Layout.TRITON), (Site.SAGEMAKER, Layout.SAGEMAKER))
        },
    )
    objects = of_type(record(lambda: AwsModelStore(context(), args)), "aws:s3/bucketObjectv2:BucketObjectv2")
    keys = {found.inputs["key"].split("/", 3)[3] for found in objects}
    assert keys == {f"vllm/{path.name}" for path in (built / "vllm").iterdir()} | {"manifest.json"}
