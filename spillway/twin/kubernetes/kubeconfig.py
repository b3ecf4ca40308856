"""A kubeconfig for the stand-in: ``python -m spillway.twin.kubernetes.kubeconfig http://127.0.0.1:PORT``."""

from __future__ import annotations

import sys

import yaml

CONTEXT = "spillway-twin"


def kubeconfig(endpoint: str) -> str:
    """The text of a kubeconfig whose one context points at ``endpoint``."""
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": CONTEXT, "cluster": {"server": endpoint}}],
            "users": [{"name": CONTEXT, "user": {}}],
            "contexts": [{"name": CONTEXT, "context": {"cluster": CONTEXT, "user": CONTEXT}}],
            "current-context": CONTEXT,
        },
        sort_keys=False,
    )


if __name__ == "__main__":
    print(kubeconfig(sys.argv[1]), end="")
