"""A real Kubernetes control plane on loopback: etcd, API server, controller manager, scheduler, and kwok's nodes.

TLS, RBAC, Pod Security, quotas and priorities are on; nothing is faked but the nodes, whose pods become ready without a
container. Network policies are stored and not enforced.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from scripts.kubernetes_control_plane import cached
from spillway.twin.certificates import ensure_authority, ensure_certificate
from spillway.twin.data_plane.processes.child import Child, ProcessSpec, free_port
from spillway.twin.kubernetes.kubeconfig import kubeconfig
from tests.kubernetes.api import Api
from tests.kubernetes.nodes import KEEPER
from tests.support.waiting import eventually

HOST: Final = "localhost"
ACCOUNTS: Final = {
    # Who they are in RBAC: the roles of these users are the API server's own.
    "admin": ("admin", "system:masters"),
    "kube-controller-manager": ("system:kube-controller-manager", ""),
    "kube-scheduler": ("system:kube-scheduler", ""),
    # It acts for the kubelets of all its nodes.
    "kwok": ("kwok", "system:masters"),
}


class ControlPlane:
    """One cluster. ``api``: a client with every right; ``kubeconfig``: a file for anything else."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.programs = cached()
        self._ports = {name: free_port() for name in ("etcd", "peers", "api", "manager", "scheduler")}
        self._tokens = {name: secrets.token_hex(16) for name in ACCOUNTS}
        self._children: dict[str, Child] = {}
        self.url = f"https://{HOST}:{self._ports['api']}"
        self.authority = ensure_authority(folder / "tls").certificate
        self.api = Api(self.url, self.token, str(self.authority))

    @property
    def token(self) -> str:
        """The administrator's."""
        return self._tokens["admin"]

    @property
    def kubeconfig(self) -> Path:
        return self.folder / "admin.kubeconfig"

    def start(self) -> None:
        """Until every part answers."""
        self._write_identities()
        self._run("etcd", *self._etcd())
        self._run("kube-apiserver", *self._api_server())
        eventually(self._answers, within_s=120, what="the API server is ready")
        self._run("kube-controller-manager", *self._controller_manager())
        self._run("kube-scheduler", *self._scheduler())
        self.keep(KEEPER)

    def stop(self, *names: str) -> None:
        """End these programs, all if none is named."""
        for name in names or tuple(reversed(self._children)):
            self._children.pop(name).stop()

    def restart(self, name: str) -> None:
        """Start a program again that :meth:`stop` ended, on the same data."""
        arguments = {"etcd": self._etcd, "kube-apiserver": self._api_server}[name]()
        self._run(name, *arguments)
        eventually(self._answers, within_s=60, what="the API server is ready")

    def _answers(self) -> bool:
        ended = [name for name, child in self._children.items() if child.exit_code is not None]
        assert not ended, f"{ended} ended; see {self.folder}"
        return self.api.is_ready()

    def keep(self, nodes: str) -> str:
        """Start kubelets' work for nodes whose annotation names this keeper; returns what :meth:`stop` calls it."""
        name = f"kwok-{nodes}"
        self._run(name, *self._kwok(nodes), program="kwok")
        return name

    def _run(self, name: str, *arguments: str, program: str = "") -> None:
        command = (str(self.programs / (program or name)), *arguments)
        spec = ProcessSpec(name, command)
        self._children[name] = Child(spec, str(self.folder), self.folder / f"{name}.log")

    def _write_identities(self) -> None:
        ensure_certificate(self.folder / "tls", HOST)
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        public = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        (self.folder / "accounts.key").write_bytes(pem)
        (self.folder / "accounts.pub").write_bytes(public)
        lines = [f'{self._tokens[name]},{user},{name},"{group}"' for name, (user, group) in ACCOUNTS.items()]
        (self.folder / "tokens.csv").write_text("\n".join(lines) + "\n")
        for name, token in self._tokens.items():
            written = kubeconfig(self.url, token, self.authority)
            (self.folder / f"{name}.kubeconfig").write_text(written)

    def _etcd(self) -> list[str]:
        clients, peers = (f"http://127.0.0.1:{self._ports[name]}" for name in ("etcd", "peers"))
        return [
            f"--data-dir={self.folder / 'etcd'}",
            f"--listen-client-urls={clients}",
            f"--advertise-client-urls={clients}",
            f"--listen-peer-urls={peers}",
            f"--initial-advertise-peer-urls={peers}",
            f"--initial-cluster=default={peers}",
            "--unsafe-no-fsync",
        ]

    def _api_server(self) -> list[str]:
        tls = self.folder / "tls"
        return [
            f"--etcd-servers=http://127.0.0.1:{self._ports['etcd']}",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            # A loopback address is no endpoint of the Service `kubernetes`, which no pod here asks for.
            "--endpoint-reconciler-type=none",
            f"--secure-port={self._ports['api']}",
            f"--tls-cert-file={tls / f'{HOST}.crt'}",
            f"--tls-private-key-file={tls / f'{HOST}.key'}",
            f"--token-auth-file={self.folder / 'tokens.csv'}",
            "--authorization-mode=Node,RBAC",
            "--anonymous-auth=false",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-signing-key-file={self.folder / 'accounts.key'}",
            f"--service-account-key-file={self.folder / 'accounts.pub'}",
            "--service-cluster-ip-range=10.96.0.0/16",
            # As EKS and AKS have it: their add-ons are privileged.
            "--allow-privileged=true",
            "--enable-aggregator-routing=false",
        ]

    def _controller_manager(self) -> list[str]:
        return [
            *self._as("kube-controller-manager", "manager"),
            "--use-service-account-credentials=true",
            f"--service-account-private-key-file={self.folder / 'accounts.key'}",
            f"--root-ca-file={self.authority}",
        ]

    def _scheduler(self) -> list[str]:
        return self._as("kube-scheduler", "scheduler")

    def _as(self, name: str, port: str) -> list[str]:
        config = self.folder / f"{name}.kubeconfig"
        return [
            f"--kubeconfig={config}",
            f"--authentication-kubeconfig={config}",
            f"--authorization-kubeconfig={config}",
            "--bind-address=127.0.0.1",
            f"--secure-port={self._ports[port]}",
            f"--cert-dir={self.folder / name}",
            "--leader-elect=false",
        ]

    def _kwok(self, nodes: str) -> list[str]:
        return [
            f"--kubeconfig={self.folder / 'kwok.kubeconfig'}",
            "--manage-all-nodes=false",
            f"--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node={nodes}",
            f"--server-address=127.0.0.1:{free_port()}",
            "--node-lease-duration-seconds=40",
        ]


def is_built() -> bool:
    """Whether every program is there: `python scripts/kubernetes_control_plane.py` builds them."""
    names = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok")
    return all(os.access(cached() / name, os.X_OK) for name in names)
