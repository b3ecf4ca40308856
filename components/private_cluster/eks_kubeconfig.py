"""How an EKS cluster is talked to: by the AWS CLI's tokens, directly or through a tunnel."""

from __future__ import annotations

import json


def kubeconfig(
    name: str, endpoint: str, certificate_authority: str, region: str, tunnel_port: int | None = None
) -> str:
    """A kubeconfig (JSON) whose token comes from ``aws eks get-token``: it holds no credential itself.

    With ``tunnel_port`` it asks the tunnel's end on this machine, and still checks the API server's own name.
    """
    server = {"server": endpoint, "certificate-authority-data": certificate_authority}
    if tunnel_port is not None:
        host = endpoint.removeprefix("https://").partition("/")[0]
        server |= {"server": f"https://127.0.0.1:{tunnel_port}", "tls-server-name": host}
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": name,
            "clusters": [{"name": name, "cluster": server}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
            "users": [
                {
                    "name": name,
                    "user": {
                        "exec": {
                            "apiVersion": "client.authentication.k8s.io/v1beta1",
                            "command": "aws",
                            "args": [
                                "--region",
                                region,
                                "eks",
                                "get-token",
                                "--cluster-name",
                                name,
                                "--output",
                                "json",
                            ],
                            "interactiveMode": "Never",
                        }
                    },
                }
            ],
        }
    )
