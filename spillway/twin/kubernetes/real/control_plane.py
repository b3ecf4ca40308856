"""A real Kubernetes control plane on loopback: etcd, API server, controller manager, scheduler, and kwok's nodes.

TLS, RBAC, Pod Security, quotas and priorities are on; nothing is faked but the nodes, whose pods become ready without a
container. Network policies are stored and not enforced.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import urllib3
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from spillway.twin.certificates import ensure_authority, ensure_certificate
from spillway.twin.data_plane.processes.child import MARK, Child, ProcessSpec, free_port
from spillway.twin.kubernetes.kubeconfig import kubeconfig
from spillway.twin.kubernetes.real.groups import listens, write_config
from spillway.twin.kubernetes.real.nodes import KEEPER
from spillway.twin.kubernetes.real.programs import cached, group_controller

HOST: Final = "localhost"
_READY_S: Final = 120.0
_PAUSE_S: Final = 0.05
ACCOUNTS: Final = {
    # Who they are in RBAC: the roles of these users are the API server's own.
    "admin": ("admin", "system:masters"),
    "kube-controller-manager": ("system:kube-controller-manager", ""),
    "kube-scheduler": ("system:kube-scheduler", ""),
    # It acts for the kubelets of all its nodes.
    "kwok": ("kwok", "system:masters"),
    "lws": ("lws", "system:masters"),
}


class ControlPlane:
    """One cluster, whose data are in ``folder``. ``url``, ``token`` and ``authority``: how its administrator reaches
    it; ``kubeconfig``: a file that says so."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.programs = cached()
        self._ports = {name: free_port() for name in ("etcd", "peers", "api", "manager", "scheduler")}
        self._tokens = {name: secrets.token_hex(16) for name in ACCOUNTS}
        self._children: dict[str, Child] = {}
        self.url = f"https://{HOST}:{self._ports['api']}"
        self.authority = ensure_authority(folder / "tls").certificate
        self._pool = urllib3.PoolManager(ca_certs=str(self.authority), retries=False, timeout=5.0)

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
        self._await("the API server", self._answers)
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
        self._await("the API server", self._answers)

    def _await(self, who: str, ready: Callable[[], bool]) -> None:
        """Raises ``RuntimeError`` where a program ends, or this one is not ready in time."""
        end = time.monotonic() + _READY_S
        while not ready():
            ended = [name for name, child in self._children.items() if child.exit_code is not None]
            if ended or time.monotonic() > end:
                what = f"{', '.join(ended)} ended" if ended else f"{who} was not ready after {_READY_S:.0f} s"
                raise RuntimeError(f"{what}; its log is in {self.folder}")
            time.sleep(_PAUSE_S)

    def _answers(self) -> bool:
        headers = {"Authorization": f"Bearer {self.token}"}
        try:
            return self._pool.request("GET", f"{self.url}/readyz", headers=headers).status == 200
        except urllib3.exceptions.HTTPError:
            return False

    def keep(self, nodes: str) -> str:
        """Start kubelets' work for nodes whose annotation names this keeper; returns what :meth:`stop` calls it."""
        name = f"kwok-{nodes}"
        self._run(name, *self._kwok(nodes), program="kwok")
        return name

    def lead_groups(self) -> str:
        """Start LeaderWorkerSet's controller; returns the address at which its webhooks are asked."""
        port = free_port()
        config = write_config(self.folder / "lws", port, ensure_certificate(self.folder / "tls", HOST))
        arguments = (f"--config={config}", f"--kubeconfig={self.folder / 'lws.kubeconfig'}")
        self._run("lws", *arguments, program=str(group_controller()))
        self._await("the controller of LeaderWorkerSet", lambda: listens(port))
        return f"https://{HOST}:{port}"

    def _run(self, name: str, *arguments: str, program: str = "") -> None:
        command = (str(self.programs / (program or name)), *arguments)
        spec = ProcessSpec(name, command)
        mark = os.environ.get(MARK, str(self.folder))
        self._children[name] = Child(spec, mark, self.folder / f"{name}.log")

    def _write_identities(self) -> None:
        ensure_certificate(self.folder / "tls", HOST)
        if not (self.folder / "accounts.key").is_file():
            self._write_accounts_key()
        lines = [f'{self._tokens[name]},{user},{name},"{group}"' for name, (user, group) in ACCOUNTS.items()]
        (self.folder / "tokens.csv").write_text("\n".join(lines) + "\n")
        for name, token in self._tokens.items():
            written = kubeconfig(self.url, token, self.authority)
            (self.folder / f"{name}.kubeconfig").write_text(written)

    def _write_accounts_key(self) -> None:
        """Signs the tokens of service accounts; a cluster keeps it."""
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        public = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        (self.folder / "accounts.key").write_bytes(pem)
        (self.folder / "accounts.pub").write_bytes(public)

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
            # Of itself it asks twenty times a second, which is for clusters that many share.
            "--kube-api-qps=500",
            "--kube-api-burst=1000",
        ]

    def _kwok(self, nodes: str) -> list[str]:
        return [
            f"--kubeconfig={self.folder / 'kwok.kubeconfig'}",
            "--manage-all-nodes=false",
            f"--manage-nodes-with-annotation-selector=kwok.x-k8s.io/node={nodes}",
            f"--server-address=127.0.0.1:{free_port()}",
            "--node-lease-duration-seconds=40",
        ]
