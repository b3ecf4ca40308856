"""The archive of a scheduled function holds what it imports, and nothing besides."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pulumi
import pytest

from components.function_code import function_code

FUNCTIONS = "spillway.runtime.functions"
SITES = (f"{FUNCTIONS}.sagemaker", f"{FUNCTIONS}.azure_ml")


def unpacked(archive: pulumi.AssetArchive, folder: Path) -> Path:
    for name, asset in archive.assets.items():
        assert isinstance(asset, pulumi.FileAsset)
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(Path(str(asset.path)).read_bytes())
    return folder


@pytest.mark.parametrize(
    "modules", [(f"{FUNCTIONS}.cost_signal", *SITES), (f"{FUNCTIONS}.cutoff", *SITES), (f"{FUNCTIONS}.traffic_switch",)]
)
def test_a_function_starts_from_its_archive_alone(tmp_path: Path, modules: tuple[str, ...]) -> None:
    """Without site-packages, too: boto3 is Lambda's own, and is asked for when a call is made."""
    folder = unpacked(function_code(modules), tmp_path)
    code = f"import sys; sys.path.insert(0, {str(folder)!r}); import {', '.join(modules)}"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_an_archive_is_small_and_has_no_library_of_the_deployer() -> None:
    archive = function_code((f"{FUNCTIONS}.cost_signal", *SITES))
    assert all(name.startswith("spillway/") for name in archive.assets)
    files = [Path(str(one.path)) for one in archive.assets.values() if isinstance(one, pulumi.FileAsset)]
    sizes = [path.stat().st_size for path in files]
    assert sum(sizes) < 64 * 1024
    assert not [name for name in archive.assets if "frozen" in name or "prices" in name]
