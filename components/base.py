"""What every component shares: the stack's identity, its tags, and the base class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pulumi


@dataclass(frozen=True)
class StackContext:
    """Who a deployment belongs to. Every component gets one; no component reads Pulumi config.

    ``prefix``: starts every resource name (``spillway-prod``). ``protect_data``: whether resources that hold data are
    protected from deletion. ``aws`` / ``azure`` / ``kubernetes``: explicit providers, ``None`` for the default one.
    """

    prefix: str
    stack: str
    owner: str
    cost_centre: str
    protect_data: bool
    extra_tags: dict[str, str] = field(default_factory=dict)
    aws: pulumi.ProviderResource | None = None
    azure: pulumi.ProviderResource | None = None
    kubernetes: pulumi.ProviderResource | None = None

    @property
    def tags(self) -> dict[str, str]:
        """Cloud tags: owner, cost-centre, stack, and what the settings add."""
        return {
            **self.extra_tags,
            "owner": self.owner,
            "cost-centre": self.cost_centre,
            "stack": self.stack,
            "managed-by": "spillway",
        }

    @property
    def labels(self) -> dict[str, str]:
        """The same as Kubernetes labels."""
        return {
            "spillway.dev/owner": self.owner,
            "spillway.dev/cost-centre": self.cost_centre,
            "spillway.dev/stack": self.stack,
            "app.kubernetes.io/managed-by": "spillway",
        }


class Component(pulumi.ComponentResource):
    """A component of the stack. Its type is ``spillway:<folder>:<Class>``; its children carry the stack's tags."""

    def __init__(self, concern: str, context: StackContext, opts: pulumi.ResourceOptions | None = None) -> None:
        self.context = context
        providers = [p for p in (context.aws, context.azure, context.kubernetes) if p is not None]
        merged = pulumi.ResourceOptions.merge(pulumi.ResourceOptions(providers=providers), opts)
        super().__init__(f"spillway:{concern}:{type(self).__name__}", f"{context.prefix}-{concern}", None, merged)

    def child(
        self,
        *,
        holds_data: bool = False,
        depends_on: Sequence[pulumi.Resource] | None = None,
        ignore_changes: list[str] | None = None,
        additional_secret_outputs: list[str] | None = None,
        delete_before_replace: bool | None = None,
    ) -> pulumi.ResourceOptions:
        """Options of a child resource. ``holds_data`` protects it when the settings ask for that."""
        return pulumi.ResourceOptions(
            parent=self,
            protect=True if holds_data and self.context.protect_data else None,
            depends_on=depends_on,
            ignore_changes=ignore_changes,
            additional_secret_outputs=additional_secret_outputs,
            delete_before_replace=delete_before_replace,
        )
