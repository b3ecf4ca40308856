"""What every component shares: the stack's identity, its tags, and the base class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pulumi

from spillway.contracts.names import LABEL_PREFIX, Namespaces, ending_of


@dataclass(frozen=True)
class StackContext:
    """Who a deployment belongs to. Every component gets one; no component reads Pulumi config.

    ``prefix``: starts every resource name (``spillway-prod``). ``protect_data``: whether resources that hold data are
    protected from deletion. ``permissions_boundary_arn``: of every IAM role that is made. ``aws`` / ``azure`` /
    ``kubernetes``: explicit providers, ``None`` for the default one.
    """

    prefix: str
    stack: str
    owner: str
    cost_centre: str
    protect_data: bool
    permissions_boundary_arn: str | None = None
    extra_tags: dict[str, str] = field(default_factory=dict)
    aws: pulumi.ProviderResource | None = None
    azure: pulumi.ProviderResource | None = None
    kubernetes: pulumi.ProviderResource | None = None

    @property
    def namespaces(self) -> Namespaces:
        """The stack's namespaces in its private cluster."""
        return Namespaces(self.prefix)

    @property
    def pull_secret(self) -> str:
        """Name of the Secret with the mirror's log-in, in each namespace that pulls from one which asks for it. Two
        stacks may share a namespace of the cluster's own."""
        return f"{self.prefix}-pull"

    @property
    def tags(self) -> dict[str, str]:
        """Cloud tags: owner, cost-centre, stack, and what the settings add. ``stack`` is the prefix: budgets count by
        it, and another stack of the account may have the same short name."""
        return {
            **self.extra_tags,
            "owner": self.owner,
            "cost-centre": self.cost_centre,
            "stack": self.prefix,
            "managed-by": "spillway",
        }

    @property
    def labels(self) -> dict[str, str]:
        """The same as Kubernetes labels."""
        return {
            f"{LABEL_PREFIX}owner": self.owner,
            f"{LABEL_PREFIX}cost-centre": self.cost_centre,
            f"{LABEL_PREFIX}stack": self.prefix,
            "app.kubernetes.io/managed-by": "spillway",
        }


def unique_name(prefix: str, purpose: str, seed: str, most: int) -> str:
    """A name of at most ``most`` characters that nobody else has, as nobody else has the ``seed``."""
    ending = f"-{purpose}-{ending_of(seed)}"
    return prefix[: most - len(ending)].rstrip("-") + ending


class Component(pulumi.ComponentResource):
    """A component of the stack, of type ``spillway:<folder below components>:<Class>``.

    ``name``: what it is, in lower case with hyphens; the stack's prefix goes before it. Type and name end in the URNs
    of everything below: neither changes without an alias.
    """

    def __init__(self, name: str, context: StackContext, opts: pulumi.ResourceOptions | None = None) -> None:
        self.context = context
        folder = type(self).__module__.split(".")[1]
        providers = [p for p in (context.aws, context.azure, context.kubernetes) if p is not None]
        # Every role below, whoever writes it: an account's owner may refuse one without the boundary.
        bound = [_bounded(arn)] if (arn := context.permissions_boundary_arn) else None
        own = pulumi.ResourceOptions(providers=providers, transformations=bound)
        merged = pulumi.ResourceOptions.merge(own, opts)
        super().__init__(f"spillway:{folder}:{type(self).__name__}", f"{context.prefix}-{name}", None, merged)

    def child(
        self,
        *,
        holds_data: bool = False,
        depends_on: Sequence[pulumi.Input[pulumi.Resource]] | None = None,
        ignore_changes: list[str] | None = None,
        additional_secret_outputs: list[str] | None = None,
        delete_before_replace: bool | None = None,
        deleted_with: pulumi.Resource | None = None,
        retain_on_delete: bool | None = None,
        ready_within_s: int | None = None,
    ) -> pulumi.ResourceOptions:
        """Options of a child resource. ``holds_data`` protects it when settings ask for that. ``ready_within_s``: how
        long Pulumi waits for it, where that is longer than the provider's own ten minutes."""
        return pulumi.ResourceOptions(
            parent=self,
            protect=True if holds_data and self.context.protect_data else None,
            depends_on=depends_on,
            ignore_changes=ignore_changes,
            additional_secret_outputs=additional_secret_outputs,
            delete_before_replace=delete_before_replace,
            deleted_with=deleted_with,
            retain_on_delete=retain_on_delete,
            custom_timeouts=pulumi.CustomTimeouts(create=f"{ready_within_s}s", update=f"{ready_within_s}s")
            if ready_within_s
            else None,
        )


def _bounded(arn: str) -> pulumi.ResourceTransformation:
    def bind(args: pulumi.ResourceTransformationArgs) -> pulumi.ResourceTransformationResult | None:
        if args.type_ != "aws:iam/role:Role":
            return None
        return pulumi.ResourceTransformationResult({**args.props, "permissionsBoundary": arn}, args.opts)

    return bind
