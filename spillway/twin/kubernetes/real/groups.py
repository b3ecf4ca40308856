"""LeaderWorkerSet's own controller beside a real control plane, and the webhooks by which the API server asks it.

What they are is in its chart (github.com/kubernetes-sigs/lws, charts/lws/templates/webhook, v0.9.0); there a Service
stands where an address does here.
"""

from __future__ import annotations

import base64
import shutil
import socket
from pathlib import Path
from typing import Any, Final

import yaml

from spillway.twin.certificates import KeyPair

OTHER_KIND: Final[dict[str, Any]] = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "disaggregatedsets.disaggregatedset.x-k8s.io"},
    "spec": {
        "group": "disaggregatedset.x-k8s.io",
        "names": {"kind": "DisaggregatedSet", "plural": "disaggregatedsets", "singular": "disaggregatedset"},
        "scope": "Namespaced",
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            }
        ],
    },
}
"""What the controller watches too, and ends without: of its chart's second kind, of which nothing is made here, no more
than the name."""


def write_config(folder: Path, port: int, pair: KeyPair) -> Path:
    """The controller's configuration, and its webhooks' certificate under the names that it looks for."""
    folder.mkdir(exist_ok=True)
    shutil.copyfile(pair.certificate, folder / "tls.crt")
    shutil.copyfile(pair.key, folder / "tls.key")
    config = {
        "apiVersion": "config.lws.x-k8s.io/v1alpha1",
        "kind": "Configuration",
        "leaderElection": {"leaderElect": False},
        "internalCertManagement": {"enable": False},
        "webhook": {"host": "127.0.0.1", "port": port, "certDir": str(folder)},
        "metrics": {"bindAddress": "0"},
        "health": {"healthProbeBindAddress": "0"},
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    return path


def listens(port: int) -> bool:
    """Whether something takes connections there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def webhooks(url: str, authority: Path) -> list[dict[str, Any]]:
    """The two objects that name them."""
    bundle = base64.b64encode(authority.read_bytes()).decode()

    def webhook(name: str, path: str, resource: str, *operations: str) -> dict[str, Any]:
        group, version, plural = resource.split("/")
        rule = {"apiGroups": [group], "apiVersions": [version], "operations": operations, "resources": [plural]}
        of_groups = {"matchExpressions": [{"key": "leaderworkerset.sigs.k8s.io/name", "operator": "Exists"}]}
        return {
            "name": f"{name}.kb.io",
            "admissionReviewVersions": ["v1"],
            "clientConfig": {"url": f"{url}/{path}", "caBundle": bundle},
            "failurePolicy": "Fail",
            "sideEffects": "None",
            "rules": [rule],
            **({"objectSelector": of_groups} if plural == "pods" else {}),
        }

    sets, pods = "leaderworkerset.x-k8s.io/v1/leaderworkersets", "/v1/pods"
    of_sets, of_pods = "leaderworkerset-x-k8s-io-v1-leaderworkerset", "-v1-pod"
    kinds = {
        "Mutating": [
            webhook("mleaderworkerset", f"mutate-{of_sets}", sets, "CREATE", "UPDATE"),
            webhook("mpod", f"mutate-{of_pods}", pods, "CREATE"),
        ],
        "Validating": [
            webhook("vleaderworkerset", f"validate-{of_sets}", sets, "CREATE", "UPDATE"),
            webhook("vpod", f"validate-{of_pods}", pods, "CREATE", "UPDATE"),
        ],
    }
    return [
        {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": f"{kind}WebhookConfiguration",
            "metadata": {"name": f"lws-{kind.lower()}-webhook-configuration"},
            "webhooks": asked,
        }
        for kind, asked in kinds.items()
    ]
