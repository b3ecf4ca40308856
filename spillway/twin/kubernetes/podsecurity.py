"""Pod Security Standards (https://kubernetes.io/docs/concepts/security/pod-security-standards/), as the admission does.

Each control is told in the words of the API server: ``privileged (container "x" must not set ...)``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from spillway.twin.kubernetes.values import dig, items, known, mapping

_BASELINE_CAPABILITIES: Final = frozenset(
    [
        "AUDIT_WRITE",
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "MKNOD",
        "NET_BIND_SERVICE",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    ]
)
_SAFE_SYSCTLS: Final = frozenset(
    [
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.ping_group_range",
        "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
        "net.ipv4.tcp_rmem",
        "net.ipv4.tcp_wmem",
    ]
)
_RESTRICTED_VOLUMES: Final = frozenset(
    [
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "image",
        "persistentVolumeClaim",
        "projected",
        "secret",
    ]
)
_SELINUX_TYPES: Final = frozenset({"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"})


def violations(spec: dict[str, Any], level: str) -> list[str]:
    """Which controls of ``privileged``, ``baseline`` or ``restricted`` a pod spec breaks."""
    if level == "privileged":
        return []
    found = list(_baseline(spec))
    if level == "restricted":
        found += _restricted(spec)
    return found


def _containers(spec: dict[str, Any]) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    """(name, container, its security context), init containers included."""
    every = items(spec.get("initContainers")) + items(spec.get("containers")) + items(spec.get("ephemeralContainers"))
    return [(str(c.get("name")), c, mapping(c.get("securityContext"))) for c in every]


def _baseline(spec: dict[str, Any]) -> Iterator[str]:
    pod = mapping(spec.get("securityContext"))
    containers = _containers(spec)
    for name in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(name) is True:
            yield f"host namespaces ({name}=true)"
    for volume in items(spec.get("volumes")):
        if "hostPath" in volume:
            yield f'hostPath volumes (volume "{volume.get("name")}")'
    for sysctl in items(pod.get("sysctls")):
        if sysctl.get("name") not in _SAFE_SYSCTLS:
            yield f"forbidden sysctls ({sysctl.get('name')})"
    for name, container, context in [("", {}, pod), *containers]:
        who = f'container "{name}"' if name else "pod"
        if context.get("privileged") is True:
            yield f"privileged ({who} must not set securityContext.privileged=true)"
        if dig(context, "windowsOptions", "hostProcess") is True:
            yield f"hostProcess ({who} must not set securityContext.windowsOptions.hostProcess=true)"
        extra = {c for c in dig(context, "capabilities", "add") or [] if c not in _BASELINE_CAPABILITIES}
        if extra:
            yield f"non-default capabilities ({who} must not add {', '.join(sorted(extra))})"
        if any(port.get("hostPort") for port in items(container.get("ports"))):
            yield f"hostPort ({who} uses a host port)"
        if known(context.get("procMount")) and context["procMount"] != "Default":
            yield f"procMount ({who} must not set securityContext.procMount)"
        if dig(context, "seccompProfile", "type") == "Unconfined":
            yield f"seccompProfile ({who} must not set securityContext.seccompProfile.type to Unconfined)"
        if dig(context, "appArmorProfile", "type") == "Unconfined":
            yield f"appArmorProfile ({who} must not set securityContext.appArmorProfile.type to Unconfined)"
        selinux = mapping(context.get("seLinuxOptions"))
        if selinux.get("type", "") not in _SELINUX_TYPES or selinux.get("user") or selinux.get("role"):
            yield f"seLinuxOptions ({who} sets a forbidden SELinux option)"


def _restricted(spec: dict[str, Any]) -> Iterator[str]:
    pod = mapping(spec.get("securityContext"))
    for volume in items(spec.get("volumes")):
        sources = set(volume) - {"name"}
        if sources - _RESTRICTED_VOLUMES - {"hostPath"}:
            yield f'restricted volume types (volume "{volume.get("name")}" uses {", ".join(sorted(sources))})'
    pod_non_root, pod_seccomp = pod.get("runAsNonRoot"), dig(pod, "seccompProfile", "type")
    if pod.get("runAsUser") == 0:
        yield "runAsUser=0 (pod must not set securityContext.runAsUser=0)"
    for name, _, context in _containers(spec):
        who = f'container "{name}"'
        if context.get("allowPrivilegeEscalation") is not False and known_or_missing(
            context, "allowPrivilegeEscalation"
        ):
            yield f"allowPrivilegeEscalation != false ({who} must set securityContext.allowPrivilegeEscalation=false)"
        non_root = context.get("runAsNonRoot", pod_non_root)
        if non_root is not True and (non_root is None or known(non_root)):
            yield f"runAsNonRoot != true (pod or {who} must set securityContext.runAsNonRoot=true)"
        if context.get("runAsUser") == 0:
            yield f"runAsUser=0 ({who} must not set securityContext.runAsUser=0)"
        seccomp = dig(context, "seccompProfile", "type") or pod_seccomp
        if seccomp is None or (known(seccomp) and seccomp not in ("RuntimeDefault", "Localhost")):
            yield f'seccompProfile (pod or {who} must set securityContext.seccompProfile.type to "RuntimeDefault")'
        if "ALL" not in (dig(context, "capabilities", "drop") or []):
            yield f'unrestricted capabilities ({who} must set securityContext.capabilities.drop=["ALL"])'
        extra = {c for c in dig(context, "capabilities", "add") or [] if c != "NET_BIND_SERVICE"}
        if extra & _BASELINE_CAPABILITIES:
            yield f"unrestricted capabilities ({who} must not add {', '.join(sorted(extra))})"


def known_or_missing(context: dict[str, Any], name: str) -> bool:
    return name not in context or known(context[name])
