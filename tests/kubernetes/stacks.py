"""The Kubernetes objects of stacks, as the real program plans them, and the nodes that their pools would make."""

from __future__ import annotations

import fcntl
import os
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, TypeVar

from spillway.twin.certificates import ensure_certificate
from spillway.twin.provider import UNKNOWN, Secret
from tests.stacks.files import REMOVE, changed, example
from tests.support.packages import small_package
from tests.support.plans import preview

S: Final = "spillway:"
ZONES: Final = ("us-east-1a", "us-east-1b", "us-east-1c")
PLACEHOLDER: Final = "known-after-the-up"
RELEASE: Final = "kubernetes:helm.sh/v3:Release"
_Made = TypeVar("_Made")
PLANS: Final = "SPILLWAY_TESTS_PLANS"
"""Variable that names the folder of what was planned before."""

STACKS: Final[dict[str, tuple[str, str, dict[str, Any]]]] = {
    "local": ("local", "triton", {}),
    "dev": ("dev", "triton", {}),
    "prod": ("prod", "triton", {}),
    "amd": (
        "dev",
        "vllm",
        {
            f"{S}azure.location": "eastus2",
            f"{S}private_cluster": {
                "kind": "aks",
                "accelerator": "amd",
                "admin_group_ids": ["00000000-0000-4000-8000-0000000000aa"],
                "gpu_pool": {"vm_size": "Standard_ND96isr_MI300X_v5", "gpus_per_node": 8, "max_nodes": 2},
                "amd_operator": {"driver": True, "driver_image": "registry.example.com/amdgpu-driver"},
            },
            f"{S}model_server": {
                "gpus": 8,
                "cpu": "64",
                "memory": "1024Gi",
                "vllm_image": "docker.io/rocm/vllm:rocm6.4",
                "gpu_device_gids": [109],
            },
            f"{S}private_cluster.quotas": {"serving": {"cpu": "256", "memory": "4Ti", "pods": 50}},
            f"{S}model_server.autoscaling": {"min_replicas": 1, "max_replicas": 2},
            f"{S}burst.azure_ml": REMOVE,
        },
    ),
    "vllm": (
        "prod",
        "vllm",
        {
            f"{S}private_cluster.gpu_pool": {"instance_type": "p5.48xlarge", "gpus_per_node": 8, "max_nodes": 3},
            f"{S}model_server": {"gpus": 4, "autoscaling": {"min_replicas": 2, "max_replicas": 6}},
            f"{S}burst.azure_ml": REMOVE,
        },
    ),
    "group": (
        "prod",
        "vllm",
        {
            f"{S}private_cluster.gpu_pool": {"instance_type": "g6e.8xlarge", "gpus_per_node": 1, "max_nodes": 4},
            # The small package is made for one GPU, so each of two nodes holds a part of it.
            f"{S}model_server": {
                "span": {"nodes": 2},
                "vllm_image": "registry.example.com/vllm-efa:0.30.0",
                "autoscaling": {"min_replicas": 1, "max_replicas": 2},
            },
            f"{S}burst.azure_ml": REMOVE,
        },
    ),
    "existing": (
        "local",
        "triton",
        {
            f"{S}private_cluster": {
                "kind": "existing",
                "kubeconfig_secret": "kubeconfig",
                "nodes": 2,
                "gpus_per_node": 8,
                "usd_per_node_hour": 30.0,
            },
            f"{S}model_server.autoscaling": {"min_replicas": 2, "max_replicas": 16},
        },
    ),
}
"""Name: the example that it begins from, the package's kind, and what is changed."""


@dataclass(frozen=True)
class Planned:
    """``objects``: in the order in which they are made. ``releases``: charts' values by chart."""

    prefix: str
    objects: tuple[dict[str, Any], ...]
    releases: dict[str, dict[str, Any]]

    def one(self, kind: str, name: str) -> dict[str, Any]:
        (found,) = [o for o in self.objects if (o["kind"], o["metadata"]["name"]) == (kind, name)]
        return found


def planned(name: str) -> Planned:
    """A stack of :data:`STACKS`, as the program plans it."""
    begun, kind, changes = STACKS[name]
    return made_once(name, lambda: plan(begun, kind, changes, name))


def made_once(name: str, make: Callable[[], _Made]) -> _Made:
    """For all workers, whose time goes into plans for the most part."""
    path = Path(os.environ[PLANS]) / f"{name}.plan"
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.is_file():
            path.write_bytes(pickle.dumps(make()))
    return pickle.loads(path.read_bytes())


def plan(begun: str, kind: Any, changes: dict[str, Any], name: str, package: Path | None = None) -> Planned:
    """``name``: of the whole, so that two plans are two stacks. ``package``: what is served, a small one by default."""
    with TemporaryDirectory() as folder:
        package = package or small_package(Path(folder) / "package", kind=kind)
        config = changed(example(begun), {f"{S}package.path": str(package), f"{S}name": f"s-{name}"})
        # Zones that are named are not asked for.
        config = changed(config, {**changes, f"{S}connectivity.zones": list(ZONES)})
        resources = preview(Path(folder) / "project", {**config, **_certificate(Path(folder))}).resources
    ours = [one for one in resources if one.custom and one.type.startswith("kubernetes:")]
    releases = {plain(one.inputs)["chart"].rpartition("/")[2]: plain(one.inputs) for one in ours if one.type == RELEASE}
    objects = tuple(_settled(plain(one.inputs)) for one in ours if one.type != RELEASE)
    return Planned(f"s-{name}-test", objects, releases)


def _certificate(folder: Path) -> dict[str, str]:
    """The API server reads what a TLS secret holds."""
    pair = ensure_certificate(folder, "inference.example.com")
    files = {"gateway_certificate": pair.certificate, "gateway_certificate_key": pair.key}
    return {f"spillway-secrets:{name}": path.read_text() for name, path in files.items()}


def _settled(thing: dict[str, Any]) -> dict[str, Any]:
    """Keys that only the clouds know, under any name."""
    unknown = {key for key in ("data", "stringData") if thing.get(key) == PLACEHOLDER}
    return {**thing, **{key: {"key": PLACEHOLDER} for key in unknown}}


def plain(value: Any) -> Any:
    """Without secrets' wrapping, and with a text where a cloud would have answered one."""
    if isinstance(value, Secret):
        return plain(value.value)
    if value is UNKNOWN:
        return PLACEHOLDER
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


__all__ = ["STACKS", "Planned", "made_once", "plan", "planned"]
