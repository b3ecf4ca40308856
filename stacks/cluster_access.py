"""What a kubeconfig opens: an API server that is asked a few things before anything is made on its cluster.

Log-ins are those of https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/: a token, a certificate, or a
program that tells one of them.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import yaml

Object = dict[str, Any]
_TIMEOUT_S: Final = 20.0
_LOG_IN_S: Final = 60.0


class ClusterAccessError(Exception):
    """The cluster cannot be asked. The message says why, and what to do."""


class ClusterAccess:
    """An API server, asked as a kubeconfig's context says."""

    def __init__(self, server: str, **tls: Any) -> None:
        import urllib3

        self.server = server.rstrip("/")
        token = tls.pop("token", None)
        self._headers = {"Accept": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
        self._pool = urllib3.PoolManager(retries=False, timeout=_TIMEOUT_S, **tls)

    def get(self, path: str) -> Object | None:
        """``None`` for what is not there. Raises :class:`ClusterAccessError`."""
        return self._ask("GET", path)

    def may(self, verb: str, resource: str) -> bool:
        """Whether whoever asks may do that everywhere; the question changes nothing."""
        group, _, plural = resource.rpartition("/")
        about = {"resourceAttributes": {"verb": verb, "group": group, "resource": plural}}
        kind = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": about}
        answer = self._ask("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", kind)
        return bool(answer and answer["status"]["allowed"])

    def _ask(self, method: str, path: str, body: Object | None = None) -> Object | None:
        from urllib3.exceptions import HTTPError

        headers = self._headers | ({"Content-Type": "application/json"} if body else {})
        try:
            answer = self._pool.request(
                method, self.server + path, headers=headers, body=json.dumps(body).encode() if body else None
            )
        except HTTPError as error:
            raise ClusterAccessError(
                f"{self.server} does not answer ({type(error).__name__}): open the way to it, or mend the kubeconfig"
            ) from None
        if answer.status == 404:
            return None
        if answer.status >= 400:
            raise ClusterAccessError(
                f"{self.server} answers {answer.status} to {method} {path}: the kubeconfig's user has no right to it"
            )
        return answer.json()


@contextmanager
def opened(kubeconfig: str, context: str | None = None, folder: Path | None = None) -> Iterator[ClusterAccess]:
    """``kubeconfig``: its text; ``context``: of it, its current one by default. ``folder``: where its paths begin.
    Raises :class:`ClusterAccessError`."""
    found = yaml.safe_load(kubeconfig)
    if not isinstance(found, dict):
        raise ClusterAccessError("the stack has no kubeconfig yet: give one (private_cluster.kubeconfig_path)")
    chosen = _named(found, "contexts", context or found.get("current-context"))["context"]
    cluster = _named(found, "clusters", chosen["cluster"])["cluster"]
    user = _named(found, "users", chosen["user"])["user"] or {}
    with ExitStack() as stack:
        files = Path(stack.enter_context(TemporaryDirectory()))
        yield ClusterAccess(cluster["server"], **_tls(cluster, user, files, folder or Path()))


def _named(found: Mapping[str, Any], part: str, name: str | None) -> Object:
    for one in found.get(part) or ():
        if one["name"] == name:
            return one
    there = ", ".join(one["name"] for one in found.get(part) or ()) or "none"
    raise ClusterAccessError(f"the kubeconfig has no {part.removesuffix('s')} {name!r}; it has {there}")


def _tls(cluster: Object, user: Object, files: Path, folder: Path) -> Object:
    logged_in = {**user, **(_told_by(user["exec"]) if user.get("exec") else {})}
    token = logged_in.get("token")
    if not token and logged_in.get("tokenFile"):
        token = (folder / logged_in["tokenFile"]).read_text().strip()
    unchecked = {"cert_reqs": "CERT_NONE"} if cluster.get("insecure-skip-tls-verify") else {}
    wanted = {
        "ca_certs": _file(cluster, "certificate-authority", files, folder),
        "cert_file": _file(logged_in, "client-certificate", files, folder),
        "key_file": _file(logged_in, "client-key", files, folder),
        "server_hostname": cluster.get("tls-server-name"),
        "token": token,
    }
    return unchecked | {name: value for name, value in wanted.items() if value}


def _file(part: Object, name: str, files: Path, folder: Path) -> str | None:
    """The path of what stands in the kubeconfig itself, or beside it."""
    if encoded := part.get(f"{name}-data"):
        path = files / name
        path.write_bytes(base64.b64decode(encoded))
        path.chmod(0o600)
        return str(path)
    return str(folder / part[name]) if part.get(name) else None


def _told_by(program: Object) -> Object:
    """What a log-in program says, in a kubeconfig's own words."""
    more = {one["name"]: one["value"] for one in program.get("env") or ()}
    version = {"apiVersion": program["apiVersion"], "kind": "ExecCredential", "spec": {"interactive": False}}
    try:
        done = subprocess.run(
            [program["command"], *(program.get("args") or ())],
            env={**os.environ, **more, "KUBERNETES_EXEC_INFO": json.dumps(version)},
            capture_output=True,
            text=True,
            check=True,
            timeout=_LOG_IN_S,
        )
        status = json.loads(done.stdout)["status"]
    except (OSError, subprocess.SubprocessError, ValueError, KeyError) as error:
        raise ClusterAccessError(
            f"`{program['command']}`, by which the kubeconfig logs in, tells no credentials ({type(error).__name__}): "
            "log in, or install it"
        ) from None
    inline = {"clientCertificateData": "client-certificate-data", "clientKeyData": "client-key-data"}
    encoded = {
        ours: base64.b64encode(status[theirs].encode()).decode() for theirs, ours in inline.items() if theirs in status
    }
    return encoded | ({"token": status["token"]} if "token" in status else {})
