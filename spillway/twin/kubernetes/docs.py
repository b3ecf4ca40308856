"""The generated part of the page: ``python -m spillway.twin.kubernetes.docs docs/reference/twin-kubernetes.md``."""

from __future__ import annotations

import sys
from pathlib import Path

from spillway.twin.kubernetes import status
from spillway.twin.kubernetes.helm import RELEASE
from spillway.twin.kubernetes.rules import IMMUTABLE, POD_TEMPLATES, checked_kinds
from spillway.twin.kubernetes.schema import KUBERNETES_VERSION, Catalogue

BEGIN, END = "<!-- kinds: generated -->", "<!-- end of kinds -->"


def table() -> str:
    """One line for each kind."""
    lines = ["| type | scope | schema | more checks | status | immutable |", "| --- | --- | --- | --- | --- | --- |"]
    for kind in sorted(Catalogue().kinds(), key=lambda kind: (kind.custom, kind.group, kind.kind, kind.version)):
        more = [name for name, kinds in (("rules", checked_kinds()), ("pod", POD_TEMPLATES)) if kind.kind in kinds]
        columns = (
            f"`{kind.token}`",
            "namespace" if kind.namespaced else "cluster",
            "CRD, shipped" if kind.custom else f"Kubernetes {KUBERNETES_VERSION}",
            ", ".join([] if kind.custom else more),
            "healthy at once" if kind.kind in status.settled_kinds() and not kind.custom else "",
            ", ".join(f"`{path}`" for path in IMMUTABLE.get(kind.kind, ()) if not kind.custom),
        )
        lines.append(f"| {' | '.join(columns)} |")
    lines.append(
        f"| `{RELEASE}` | namespace | arguments | chart, pinned version, repository, values | only recorded | |"
    )
    return "\n".join(lines)


def updated(page: str) -> str:
    """The page with a current table."""
    head, rest = page.split(BEGIN)
    return f"{head}{BEGIN}\n{table()}\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(updated(path.read_text()))
