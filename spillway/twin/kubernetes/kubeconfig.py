"""A kubeconfig for the stand-in: ``python -m spillway.twin.kubernetes.kubeconfig http://127.0.0.1:PORT``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml

CONTEXT = "spillway-twin"


def kubeconfig(endpoint: str, token: str | None = None, authority: Path | None = None) -> str:
    """The text of a kubeconfig whose one context points at ``endpoint``; with a bearer token and the CA's file where
    a real API server asks for them."""
    cluster: dict[str, Any] = {"server": endpoint}
    if authority is not None:
        cluster["certificate-authority"] = str(authority)
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": CONTEXT, "cluster": cluster}],
            "users": [{"name": CONTEXT, "user": {"token": token} if token else {}}],
            "contexts": [{"name": CONTEXT, "context": {"cluster": CONTEXT, "user": CONTEXT}}],
            "current-context": CONTEXT,
        },
        sort_keys=False,
    )


if __name__ == "__main__":
    print(kubeconfig(sys.argv[1]), end="")
