"""The generated part of the reference page ``twin-kubernetes.md``."""

from __future__ import annotations

from spillway.twin.kubernetes import status
from spillway.twin.kubernetes.helm import RELEASE
from spillway.twin.kubernetes.rules import IMMUTABLE, POD_TEMPLATES, checked_kinds
from spillway.twin.kubernetes.schema import KUBERNETES_VERSION, Catalogue


def table() -> str:
    """One line for each kind."""
    lines = ["| type | scope | schema | more checks | status | immutable |", "| --- | --- | --- | --- | --- | --- |"]
    for kind in sorted(Catalogue().kinds(), key=lambda kind: (kind.custom, kind.group, kind.kind, kind.version)):
        more = [name for name, kinds in (("rules", checked_kinds()), ("pod", POD_TEMPLATES)) if kind.kind in kinds]
        columns = (
            f"`{kind.token}`",
            "namespace" if kind.namespaced else "cluster",
            "CRD, shipped" if kind.custom else f"Kubernetes {KUBERNETES_VERSION}",
            ", ".join(more),
            "healthy at once" if kind.kind in status.settled_kinds() else "",
            ", ".join(f"`{path}`" for path in IMMUTABLE.get(kind.kind, ())),
        )
        lines.append(f"| {' | '.join(columns)} |")
    lines.append(
        f"| `{RELEASE}` | namespace | arguments | chart, pinned version, repository, values | only recorded | |"
    )
    return "\n".join(lines)
