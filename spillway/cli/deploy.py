"""``deploy``: a stack into real accounts, in the stages that it needs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

import click

from spillway.cli.command import command_of, tell
from spillway.cli.errors import FAILED, CommandError
from spillway.cli.options import stack_option

if TYPE_CHECKING:
    from rich.console import RenderableType

    from policies.policy import Finding
    from spillway.cli.console import Reporter
    from spillway.cli.stack import Stack
    from stacks.first_answer import Answer, Asker
    from stacks.staged_deployment import Deployed, Dns, Done
    from stacks.stages import Image, Question, Stage, Step


@click.group()
def _group() -> None: ...


@command_of(_group)
@stack_option(required=True)
@click.option("--dry-run", is_flag=True, help="Say which steps there are, and do none.")
@click.option("-y", "--yes", is_flag=True, help="Approve every stage.")
@click.option("--resolver", metavar="ADDRESS[:PORT]", help="DNS server to ask. Default: this machine's.")
@click.option(
    "--image-base",
    metavar="NAME@sha256:DIGEST",
    help="Build the runtime image on this base, where neither its registry nor this machine has it.",
)
@click.option("--builder", default="", help="docker, podman or buildah. Default: the first that is here.")
@click.option(
    "--patience",
    "patience_s",
    type=click.FloatRange(min=0),
    default=600.0,
    show_default=True,
    help="Seconds that the finished site is asked for its first answer.",
)
def deploy(
    stack_name: str,
    dry_run: bool,
    yes: bool,
    resolver: str | None,
    image_base: str | None,
    builder: str,
    patience_s: float,
    as_json: bool,
) -> None:
    """Deploy a stack into real accounts with the Pulumi CLI, in the stages that it needs.

    Each stage is a plain `pulumi up` with `spillway:stage` set. What has to happen in between is waited for (a zone's
    delegation) or done (the runtime image, the tunnel to a private API server). After each stage the policies judge
    what stands, and at the end the site is asked for one answer. A run that was stopped goes on where it was.

    Ends with 1 where a step does not end well, or a mandatory policy is violated by what stands.
    """
    from spillway.cli.console import Reporter
    from spillway.cli.stack import find_stack
    from stacks.stages import steps_of

    stack, reporter = find_stack(stack_name), Reporter()
    steps = steps_of(stack.settings)
    if dry_run:
        tell(as_json, {"stack": stack_name, "steps": [_step_json(step) for step in steps]}, lambda: _steps_text(steps))
        return
    _need_room(stack, reporter)
    from stacks.first_answer import Asker
    from stacks.routing import probe_of
    from stacks.staged_deployment import AutomatedStack, Deployment, Dns

    names = Dns(resolver)
    request, key = probe_of(stack.manifest()), _client_key(stack)
    asker = Asker(request, key, names.addresses, patience_s=patience_s)
    hands = StackHands(stack, reporter, names, asker, yes, builder, image_base)
    automated = AutomatedStack(stack.project.root, stack_name, stack.project.stack_file(stack_name), reporter)
    deployed = Deployment(automated, hands, reporter).run(steps)
    told = {
        "stack": stack_name,
        "done": [_done_json(one) for one in deployed.done],
        "dns_name": automated.outputs().get("dns_name"),
        "answer": asdict(deployed.answer) if deployed.answer else None,
    }
    tell(as_json, told, lambda: _done_text(deployed))
    if any(one.faults for one in deployed.done):
        raise click.exceptions.Exit(FAILED)


def _need_room(stack: Stack, reporter: Reporter) -> None:
    """Before anything is made. Raises :class:`CommandError` with each thing that a cluster of somebody else's lacks, or
    that the account has already and cannot have twice."""
    for where, unmet in (("cluster", stack.unmet()), ("AWS account", stack.taken())):
        for one in unmet:
            if not one.certain:
                reporter.say(f"{where}: {one.what}: {one.found}; {one.mend}")
        if lacking := [f"{one.what}: {one.found}; {one.mend}" for one in unmet if one.certain]:
            told = "\n".join(f"- {line}" for line in lacking)
            raise CommandError(f"The {where} of {stack.name} cannot take the stack, and nothing was made:\n{told}")


_SETTLED: Final = frozenset({"acm-delegated-zone"})
"""Rules about what an `up` waits for: one that ended well has got it."""


@dataclass(frozen=True)
class StackHands:
    """See :class:`stacks.staged_deployment.Hands`."""

    stack: Stack
    reporter: Reporter
    names: Dns
    asker: Asker
    yes: bool
    builder: str
    image_base: str | None

    def approve(self, stage: Stage, changes: Mapping[str, int]) -> bool:
        self.reporter.say(f"{stage.name} ({stage.why}): {_counts(changes)}")
        return self.yes or click.confirm(f"Deploy {stage.name}?", err=True)

    def name_servers(self, zone: str) -> frozenset[str]:
        return self.names.name_servers(zone)

    def publish(self, image: Image) -> bool:
        from stacks.runtime_image import LocalBuilder, publish, registry_of

        azure = self.stack.settings.azure
        registry = registry_of(image.name, LocalBuilder(self.builder), azure.tenant_id if azure else "")
        return publish(registry, self.image_base)

    def faults(self, stage: Stage, checkpoint: Mapping[str, Any]) -> list[str]:
        """Of a foundation alone, whatever can be said of each resource by itself."""
        from policies.checkpoint import resources_of

        policies, resources = self.stack.policies(self.stack.config.secrets), resources_of(checkpoint)
        if stage.name != "site":
            alone = policies(resources, whole=False)
            return [f"{one.policy}: {one.message} ({one.urn.rpartition('::')[2]})" for one in alone if one.mandatory]
        found = [one for one in policies.verdict(resources).mandatory if one.finding.rule not in _SETTLED]
        return [f"{one.finding.rule or one.policy.name}: {one.finding.message} ({_name(one.finding)})" for one in found]

    def ask(self, question: Question) -> Answer:
        return self.asker.ask(question)


def _name(finding: Finding) -> str:
    return finding.resource.name if finding.resource else "stack"


def _client_key(stack: Stack) -> dict[str, str]:
    """The header of the first client; none where callers need no key."""
    from spillway.contracts.classes import CLIENT_KEY_HEADER

    keys = (stack.secret(c.key_secret) for c in stack.settings.gateway.clients if c.key_secret)
    return next(({CLIENT_KEY_HEADER: key} for key in keys if key), {})


def _step_json(step: Step) -> dict[str, Any]:
    kind = type(step).__name__.lower()
    return {"kind": kind, **vars(step)}


def _steps_text(steps: Sequence[Step]) -> Iterator[RenderableType]:
    from rich.table import Table

    table = Table("Step", "What", "Why", title="Deployment in steps")
    for number, step in enumerate(steps, 1):
        told = _step_json(step)
        about = " ".join(f"{key} {value}" for key, value in told.items() if key not in ("kind", "why", "name"))
        table.add_row(str(number), f"{told['kind']} {told.get('name', about)}", told["why"])
    yield table


def _done_json(done: Done) -> dict[str, Any]:
    return {
        "stage": done.step,
        "seconds": round(done.seconds, 1),
        "changes": dict(done.changes),
        "left": dict(done.left),
        "faults": list(done.faults),
    }


def _done_text(deployed: Deployed) -> Iterator[RenderableType]:
    from rich.table import Table

    table = Table("Step", "Seconds", "Done", "A second plan would still", title="Deployed")
    for one in deployed.done:
        left = _counts(one.left) if one.left else "nothing"
        table.add_row(one.step, f"{one.seconds:.0f}", _counts(one.changes), left)
    yield table
    for one in deployed.done:
        yield from (f"Policies, after {one.step}: {fault}" for fault in one.faults)
    if (answer := deployed.answer) is None:
        return
    if answer.problem:
        yield f"The site was not asked: {answer.problem}"
    else:
        yield f"{answer.site or 'the site'} at {answer.address} answered in {answer.seconds:.2f} s: {answer.body}"


def _counts(changes: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {operation}" for operation, count in changes.items()) or "nothing"
