"""What every component does for the resources below it."""

from __future__ import annotations

from typing import Any

import pulumi
import pulumi_aws as aws

from components.base import Component
from tests.support.recording import context, of_type, record


class Inner(Component):
    def __init__(self, **of_context: Any) -> None:
        super().__init__("inner", context(**of_context))
        Nested(self, **of_context)
        aws.iam.Role("own", assume_role_policy="{}", opts=self.child())
        aws.sns.Topic("topic", opts=self.child())


class Nested(Component):
    def __init__(self, parent: pulumi.Resource, **of_context: Any) -> None:
        super().__init__("nested", context(**of_context), pulumi.ResourceOptions(parent=parent))
        aws.iam.Role("nested", assume_role_policy="{}", opts=self.child())


def test_a_permissions_boundary_bounds_every_role_and_nothing_else() -> None:
    boundary = "arn:aws:iam::123456789012:policy/boundary"
    found = record(lambda: Inner(permissions_boundary_arn=boundary))
    roles = of_type(found, "aws:iam/role:Role")
    assert [role.inputs.get("permissionsBoundary") for role in roles] == [boundary, boundary]
    (topic,) = of_type(found, "aws:sns/topic:Topic")
    assert "permissionsBoundary" not in topic.inputs
    assert all("permissionsBoundary" not in role.inputs for role in of_type(record(Inner), "aws:iam/role:Role"))
