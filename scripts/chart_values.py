"""Renew ``spillway/conformance/services/kubernetes/charts.json``: the keys that the pinned charts' values may have.

    python scripts/chart_values.py FOLDER

FOLDER holds git clones, one a repository of ``CHARTS``, as ``owner+name``. A chart's own ``values.yaml`` and what its
templates read say which keys there are; what is empty there, or a list, may hold anything. A chart inside another is
read at its own pinned version.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

PATH = r"\.Values\.[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*"
READ = re.compile(PATH)
WHOLE = re.compile(r"(range|toYaml)[^}]*" + PATH)
"""What is written out as it is, or gone through: there anything may stand."""
NAMED = re.compile(r"\.Values\.(?P<path>[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*)")
WRITTEN = Path(__file__).resolve().parents[1] / "spillway/conformance/services/kubernetes/charts.json"
COMMUNITY = "prometheus-community/helm-charts"
DISCOVERY = "kubernetes-sigs/node-feature-discovery"


@dataclass(frozen=True)
class Values:
    """Where a chart's ``values.yaml`` stands."""

    repository: str
    ref: str
    path: str
    version: str = ""
    licence: str = "Apache-2.0"

    def read(self, folder: Path) -> dict[str, Any]:
        """The keys, as a tree."""
        found = keys(yaml.safe_load(self._git(folder, "show", f"{self.ref}:{self.path}")))
        templates = f"{self.path.rpartition('/')[0]}/templates"
        for pattern, ending in ((READ, {}), (WHOLE, None)):
            lines = self._git(folder, "grep", "-hoE", pattern.pattern, self.ref, "--", templates)
            for path in sorted({one["path"] for one in NAMED.finditer(lines)}):
                found = together(found, path_of(path.split("."), ending))
        return found

    def _git(self, folder: Path, *arguments: str) -> str:
        clone = folder / self.repository.replace("/", "+")
        git = clone / "repo" if (clone / "repo").is_dir() else clone
        return subprocess.run(
            ["git", f"--git-dir={git}", *arguments], check=True, capture_output=True, text=True
        ).stdout


def _discovery(version: str) -> Values:
    return Values(DISCOVERY, version, "deployment/helm/node-feature-discovery/values.yaml")


# Each chart, and the charts inside it by the key of their values.
CHARTS: dict[str, tuple[Values, dict[str, Values]]] = {
    "kube-prometheus-stack": (
        Values(COMMUNITY, "kube-prometheus-stack-77.5.0", "charts/kube-prometheus-stack/values.yaml", "77.5.0"),
        {
            "grafana": Values("grafana/helm-charts", "grafana-9.4.4", "charts/grafana/values.yaml"),
            "kube-state-metrics": Values(
                COMMUNITY, "kube-state-metrics-6.3.0", "charts/kube-state-metrics/values.yaml"
            ),
            "prometheus-node-exporter": Values(
                COMMUNITY, "prometheus-node-exporter-4.47.3", "charts/prometheus-node-exporter/values.yaml"
            ),
        },
    ),
    "prometheus-adapter": (
        Values(COMMUNITY, "prometheus-adapter-5.1.0", "charts/prometheus-adapter/values.yaml", "5.1.0"),
        {},
    ),
    "gpu-operator": (
        Values("NVIDIA/gpu-operator", "v25.10.0", "deployments/gpu-operator/values.yaml", "v25.10.0"),
        {"node-feature-discovery": _discovery("v0.18.2")},
    ),
    "gpu-operator-charts": (
        Values("ROCm/gpu-operator", "v1.4.0", "helm-charts-k8s/values.yaml", "v1.4.0"),
        {
            "node-feature-discovery": _discovery("v0.16.1"),
            "kmm": Values("ROCm/gpu-operator", "v1.4.0", "helm-charts-k8s/charts/kmm/values.yaml"),
        },
    ),
    "cert-manager": (
        Values("cert-manager/cert-manager", "v1.21.1", "deploy/charts/cert-manager/values.yaml", "v1.21.1"),
        {},
    ),
    "cluster-autoscaler": (
        Values(
            "kubernetes/autoscaler",
            "cluster-autoscaler-chart-9.53.0",
            "cluster-autoscaler/charts/cluster-autoscaler/values.yaml",
            "9.53.0",
        ),
        {},
    ),
    "aws-load-balancer-controller": (
        Values("aws/eks-charts", "5239609", "stable/aws-load-balancer-controller/values.yaml", "3.5.0"),
        {},
    ),
    "aws-efa-k8s-device-plugin": (
        Values("aws/eks-charts", "bfe91c4", "stable/aws-efa-k8s-device-plugin/values.yaml", "v0.5.30"),
        {},
    ),
    "metrics-server": (
        Values(
            "kubernetes-sigs/metrics-server",
            "metrics-server-helm-chart-3.13.1",
            "charts/metrics-server/values.yaml",
            "3.13.1",
        ),
        {},
    ),
    "lws": (
        Values("kubernetes-sigs/lws", "v0.9.0", "charts/lws/values.yaml", "0.9.0"),
        {},
    ),
    "dcgm-exporter": (
        Values("NVIDIA/dcgm-exporter", "4.4.1-4.6.0", "deployment/values.yaml", "4.6.0"),
        {},
    ),
}


def keys(value: Any) -> Any:
    """Which keys there are below; ``None`` where anything may stand."""
    if not isinstance(value, dict) or not value:
        return None
    return {name: keys(inner) for name, inner in sorted(value.items())}


def path_of(parts: list[str], ending: Any) -> Any:
    """A tree with one branch, that ends so."""
    return {parts[0]: path_of(parts[1:], ending)} if parts else ending


def together(one: Any, other: Any) -> Any:
    """The keys of both. Where either leaves open what may stand, it stays open."""
    if one is None or other is None:
        return None
    return {name: together(one.get(name, {}), other.get(name, {})) for name in sorted({*one, *other})}


def closed(tree: Any) -> Any:
    """Open where no key is known."""
    return {name: closed(inner) for name, inner in tree.items()} if tree else None


def main(folder: str) -> None:
    charts = {}
    for name, (chart, inner) in CHARTS.items():
        found = chart.read(Path(folder))
        sources = [f"{one.repository} {one.ref} {one.path} ({one.licence})" for one in (chart, *inner.values())]
        for key, values in inner.items():
            found[key] = together(found.get(key) or {}, values.read(Path(folder)))
        charts[name] = {"version": chart.version, "sources": sources, "keys": closed(found)}
    lines = (f"{json.dumps(name)}: {json.dumps(chart, separators=(',', ':'))}" for name, chart in charts.items())
    WRITTEN.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
