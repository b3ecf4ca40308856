"""The programs of a real control plane: which versions, and where they lie once they are built."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from spillway.twin.tools import ToolMissingError, cache_folder

KUBERNETES: Final = "1.34.4"
ETCD: Final = "3.6.4"
KWOK: Final = "0.7.0"
LEADER_WORKER_SET: Final = "0.9.0"
NAMES: Final = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok")
_BUILD: Final = "python scripts/kubernetes_control_plane.py"


def cached() -> Path:
    """Where these versions are kept."""
    return cache_folder(f"kubernetes-{KUBERNETES}-etcd-{ETCD}-kwok-{KWOK}")


def group_controller() -> Path:
    """Where the controller of LeaderWorkerSet is kept, which a control plane runs where asked."""
    return cache_folder(f"lws-{LEADER_WORKER_SET}") / "lws"


def is_built() -> bool:
    """Whether every program of a control plane is there."""
    return all(os.access(cached() / name, os.X_OK) for name in NAMES)


def need_programs() -> None:
    """Raises :class:`ToolMissingError` where one is not there."""
    if not is_built():
        raise ToolMissingError(f"a real Kubernetes control plane is not built in {cached()}. Run: {_BUILD}")
