"""How long a preview of `prod` takes, against the bare import of the provider modules that it uses.

`python benchmarks/preview.py [--stack prod] [--runs 3]` runs both in turn, each in a process of its own, and prints the
medians and their ratio. Both figures are seconds inside the process, interpreter start excluded. Budget: 2.5.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUDGET = 2.5

PREVIEW = """
import json, sys, time
from pathlib import Path
begun = time.perf_counter()
from spillway.twin.deployer.embedded import EmbeddedDeployer
from spillway.twin.aws.standin import AwsStandIn
from spillway.twin.azure.standin import AzureStandIn
from spillway.twin.kubernetes.standin import KubernetesStandIn
nobody = "http://127.0.0.1:9"
stand_ins = [AwsStandIn(nobody), AzureStandIn(nobody), KubernetesStandIn(nobody)]
result = EmbeddedDeployer(Path({root!r}), {stack!r}, Path({state!r}), stand_ins, "spillway-example").preview()
seconds = time.perf_counter() - begun
providers = ("pulumi_aws", "pulumi_azure_native", "pulumi_kubernetes")
modules = [name for name in sys.modules if name.split(".")[0] in providers]
print(json.dumps(dict(seconds=seconds, resources=len(result.resources), modules=modules)))
"""

IMPORTS = """
import importlib, json, sys, time
modules = json.load(sys.stdin)
begun = time.perf_counter()
for name in modules:
    importlib.import_module(name)
print(json.dumps(dict(seconds=time.perf_counter() - begun)))
"""


def run(code: str, stdin: str = "") -> dict[str, object]:
    done = subprocess.run([sys.executable, "-c", code], input=stdin, capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stack", default="prod")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    previews: list[float] = []
    imports: list[float] = []
    resources = 0
    for turn in range(asked.runs + 1):
        with tempfile.TemporaryDirectory() as state:
            found = run(PREVIEW.format(root=str(ROOT), stack=asked.stack, state=state))
        bare = run(IMPORTS, json.dumps(found["modules"]))
        resources = int(str(found["resources"]))
        # The first turn warms the disk cache and compiles what was not compiled.
        if turn:
            previews.append(float(str(found["seconds"])))
            imports.append(float(str(bare["seconds"])))
    preview, bare_import = statistics.median(previews), statistics.median(imports)
    ratio = preview / bare_import
    if asked.json:
        print(json.dumps({"preview_s": preview, "import_s": bare_import, "ratio": ratio, "resources": resources}))
    else:
        print(f"{'preview of ' + asked.stack:32} {preview:7.2f} s   ({resources} resources)")
        print(f"{'bare import of its providers':32} {bare_import:7.2f} s")
        print(f"{'ratio':32} {ratio:7.2f}     (budget {BUDGET})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
