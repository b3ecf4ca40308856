"""Make ``spillway/conformance/services/kubernetes/custom_kinds.json``: CEL rules of the twin's kinds, by type."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from scripts.members.form import text
from spillway.contracts.cel import rules_of
from spillway.twin import kubernetes

_CRDS: Final = Path(kubernetes.__file__).parent / "crds"


def document() -> str:
    """The file's text. ``sources``: module → version and licence of the schemas that have rules."""
    sources: dict[str, str] = {}
    types: dict[str, list[dict[str, object]]] = {}
    for path in sorted(_CRDS.glob("*.json")):
        crd = json.loads(path.read_text(encoding="utf-8"))
        spec = crd["spec"]
        for version in spec["versions"]:
            rules = [vars(rule) for rule in rules_of(version["schema"]["openAPIV3Schema"])]
            if rules:
                module, _, rest = crd["source"].partition("@")
                sources[module] = f"{rest.partition(' ')[0]} ({rest.partition('(')[2].partition(')')[0]})"
                types[f"kubernetes:{spec['group']}/{version['name']}:{spec['names']['kind']}"] = rules
    return text({"sources": sources, "types": types})
