"""What the policies, conformance among them, add to a preview and to `spillway check`.

`python benchmarks/policies.py [--stack prod] [--runs 3]` plans the stack on the embedded deployer, and rehearses it in
another process as `spillway check` does. Each process times the import of the pack, on top of what the command line
imports anyway, and the judging: of the plan, with its configuration; of what the rehearsal made, where every value is
known, with every flow walked, as for `--flows`, `--html` and `--quotas`. It prints the medians.

Budgets: 1 s added to a preview, the import among it; 5 s for the whole check after the plan; 0.5 s for the import.
Ends with 1 where one is passed.
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
PREVIEW_BUDGET_S, CHECK_BUDGET_S, IMPORT_BUDGET_S = 1.0, 5.0, 0.5

IMPORTED = """
import json, sys, time
from pathlib import Path
sys.path.insert(0, {root!r})
import spillway.contracts.prices, spillway.contracts.routing, spillway.twin.deploy
started = time.perf_counter()
from policies.catalogue import ALL
from policies.plan import StackPolicies
imported = time.perf_counter()
from spillway.conformance.catalogue import QUESTIONS
from stacks.stack_file import parse_settings, policy_context
from tests.stacks.files import PASSPHRASE, changed, deployer, example, flat, project, secrets_for
from tests.support.packages import small_package
folder = Path({folder!r})
config = changed(example({stack!r}), {{"spillway:package.path": str(small_package(folder / "package"))}})
config.update(secrets_for(config))
told = dict(imports=imported - started, policies=len(ALL), rules=sum(map(len, QUESTIONS.values())))

def settled():
    settings = parse_settings(flat(config))
    return StackPolicies(settings.policies, policy_context(settings, folder))
"""

PREVIEW = """
from spillway.twin.deployer.policy import plain_resources
from spillway.twin.aws.standin import AwsStandIn
from spillway.twin.azure.standin import AzureStandIn
from spillway.twin.kubernetes.standin import KubernetesStandIn
stand_ins = [kind("http://127.0.0.1:9") for kind in (AwsStandIn, AzureStandIn, KubernetesStandIn)]
begun = time.perf_counter()
plan = deployer(project(folder, config), stand_ins).preview()
previewed = time.perf_counter()
settled()(plain_resources(plan.resources))
told |= dict(preview=previewed - begun, judging=time.perf_counter() - previewed, resources=len(plan.resources))
print(json.dumps(told))
"""

CHECK = """
from spillway.conformance.flows.picture import page
from spillway.conformance.flows.walk import walk
from spillway.conformance.graph import Graph
from spillway.conformance.places.quotas import needs
from tests.program.site import stood_up
resources = stood_up(folder, {stack!r}).resources
begun = time.perf_counter()
verdict = settled().verdict(resources)
judged = time.perf_counter()
graph = Graph(resources)
flows = walk(graph)
page(flows, {stack!r})
needs(graph)
told |= dict(judging=judged - begun, shown=time.perf_counter() - judged, resources=len(resources), flows=len(flows))
print(json.dumps(told))
"""


def run(code: str, stack: str) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        filled = (IMPORTED + code).format(root=str(ROOT), folder=folder, stack=stack)
        done = subprocess.run([sys.executable, "-c", filled], capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def medians(code: str, stack: str, runs: int) -> dict[str, float]:
    found = [run(code, stack) for _ in range(runs)]
    return {key: statistics.median(one[key] for one in found) for key in found[0]}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stack", default="prod")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    preview, check = (medians(code, asked.stack, asked.runs) for code in (PREVIEW, CHECK))
    preview["added"] = preview["imports"] + preview["judging"]
    check["whole"] = check["imports"] + check["judging"] + check["shown"]
    if asked.json:
        print(json.dumps({"preview": preview, "check": check}))
    else:
        tell(asked.stack, preview, check)
    slow = check["imports"] > IMPORT_BUDGET_S or check["whole"] > CHECK_BUDGET_S or preview["added"] > PREVIEW_BUDGET_S
    return int(slow)


def tell(stack: str, preview: dict[str, float], check: dict[str, float]) -> None:
    seen = f"{preview['policies']:.0f} policies, {preview['rules']:.0f} conformance rules"
    print(f"{'preview of ' + stack:36} {preview['preview']:7.2f} s   ({preview['resources']:.0f} resources)")
    print(f"{'  import of the pack':36} {preview['imports']:7.3f} s   ({seen})")
    print(f"{'  judging the plan':36} {preview['judging']:7.3f} s")
    share = preview["added"] / preview["preview"]
    print(f"{'  added':36} {preview['added']:7.3f} s   (budget {PREVIEW_BUDGET_S:g} s; {share:.1%} of the preview)")
    print(f"{'check of ' + stack + ', once rehearsed':36}             ({check['resources']:.0f} resources)")
    print(f"{'  import of the pack':36} {check['imports']:7.3f} s   (budget {IMPORT_BUDGET_S:g} s)")
    print(f"{'  judging it':36} {check['judging']:7.3f} s")
    print(f"{'  flows, picture and quotas':36} {check['shown']:7.3f} s   ({check['flows']:.0f} flows)")
    print(f"{'  whole':36} {check['whole']:7.3f} s   (budget {CHECK_BUDGET_S:g} s)")


if __name__ == "__main__":
    sys.exit(main())
