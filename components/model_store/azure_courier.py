"""Brings the package from S3 into the closed storage account: a container in Azure's network, once for each package.

It acts as an identity of its own. Azure lets that write to the one container; AWS trusts the token that Entra gives it,
so that no key of either cloud is stored anywhere. The provider's own blobs would need the account's key and its public
address (pulumi-azure-native issue 2015), and both are off.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

import pulumi
import pulumi_aws as aws
from pulumi_azure_native import authorization, containerinstance, managedidentity

from components.aws_documents import allow, assumed_by_token, policy
from components.base import Component, StackContext
from components.connectivity.settings import MirrorSettings
from components.model_store.settings import CourierSettings
from spillway.contracts.azure_roles import ROLES

AUDIENCE: Final = "https://management.azure.com/"
"""What the token is asked for: a managed identity gets one for it without an application of its own in Entra."""
TOKEN_FILE: Final = "/tmp/aws-token"
CHECK_S: Final = 10.0
PATIENCE_S: Final = 3600.0
SCRIPT: Final = r"""
asked='api-version=2018-02-01&resource=https%3A%2F%2Fmanagement.azure.com%2F'
copy() {
  wget -qO- --header 'Metadata: true' \
    "http://169.254.169.254/metadata/identity/oauth2/token?$asked&client_id=$AZURE_CLIENT_ID" |
    sed 's/.*"access_token" *: *"\([^"]*\)".*/\1/' > "$AWS_WEB_IDENTITY_TOKEN_FILE" &&
    rclone copy "$PACKAGE_SOURCE" "$PACKAGE_TARGET" --checksum --immutable \
      --transfers="$TRANSFERS" --bwlimit="$BANDWIDTH" --use-json-log --stats=30s
}
tries=0
# Rights in both clouds take effect minutes after they were given.
until copy; do
  tries=$((tries + 1))
  [ "$tries" -lt 20 ] || exit 1
  sleep 30
done
"""


@dataclass(frozen=True)
class PackageCourierArgs:
    """``folder``: of the package, below the bucket and below the container alike. ``container_id``: of the container
    that it writes to. ``uploads``: the objects in the bucket."""

    settings: CourierSettings
    mirror: MirrorSettings
    resource_group_name: pulumi.Input[str]
    location: str
    subscription_id: str
    tenant_id: str
    subnet_id: pulumi.Input[str]
    version: str
    folder: str
    account_name: pulumi.Input[str]
    container_name: pulumi.Input[str]
    container_id: pulumi.Input[str]
    aws_region: str
    bucket_name: pulumi.Input[str]
    bucket_arn: pulumi.Input[str]
    bucket_key_arn: pulumi.Input[str]
    uploads: tuple[pulumi.Resource, ...] = ()
    after: tuple[pulumi.Resource, ...] = ()


class PackageCourierError(pulumi.RunError):
    """The package did not arrive."""


class PackageCourier(Component):
    """Outputs: ``folder``, known once the package is in it."""

    def __init__(
        self, context: StackContext, args: PackageCourierArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("model-store-azure-courier", context, opts)
        self.args = args
        self.identity = managedidentity.UserAssignedIdentity(
            f"{context.prefix}-courier",
            resource_group_name=args.resource_group_name,
            location=args.location,
            resource_name_=f"{context.prefix}-courier",
            tags=context.tags,
            opts=self.child(),
        )
        grant = self._may_write()
        role, rights = self._aws_role()
        group = self._container(role, [grant, rights, *args.uploads, *args.after])
        self.folder = pulumi.Output.all(args.resource_group_name, group.name).apply(self._arrived)
        self.register_outputs({"folder": self.folder})

    def _may_write(self) -> authorization.RoleAssignment:
        args = self.args
        roles = f"/subscriptions/{args.subscription_id}/providers/Microsoft.Authorization/roleDefinitions"
        return authorization.RoleAssignment(
            f"{self.context.prefix}-courier-container",
            scope=args.container_id,
            principal_id=self.identity.principal_id,
            principal_type=authorization.PrincipalType.SERVICE_PRINCIPAL,
            role_definition_id=f"{roles}/{ROLES['Storage Blob Data Contributor']}",
            opts=self.child(),
        )

    def _aws_role(self) -> tuple[aws.iam.Role, aws.iam.RolePolicy]:
        """Of the identity's token: it reads the package, and nothing else."""
        args, issuer = self.args, f"https://sts.windows.net/{self.args.tenant_id}/"
        provider_arn: pulumi.Input[str] | None = args.settings.entra_provider_arn
        if provider_arn is None:
            provider_arn = aws.iam.OpenIdConnectProvider(
                f"{self.context.prefix}-entra",
                url=issuer,
                client_id_lists=[AUDIENCE],
                tags=self.context.tags,
                opts=self.child(),
            ).arn
        role = aws.iam.Role(
            f"{self.context.prefix}-courier-role",
            description="Carries the model packages to Azure",
            assume_role_policy=pulumi.Output.all(provider_arn, self.identity.principal_id).apply(
                lambda found: assumed_by_token(found[0], issuer, subject=found[1], audience=AUDIENCE)
            ),
            tags=self.context.tags,
            opts=self.child(),
        )
        document = pulumi.Output.all(args.bucket_arn, args.bucket_key_arn).apply(
            lambda found: policy(
                allow("List", ["s3:ListBucket", "s3:GetBucketLocation"], found[0]),
                allow("Read", ["s3:GetObject"], f"{found[0]}/{args.folder}/*"),
                allow("Decrypt", ["kms:Decrypt"], found[1]),
            )
        )
        rights = aws.iam.RolePolicy(
            f"{self.context.prefix}-courier-policy", role=role.name, policy=document, opts=self.child()
        )
        return role, rights

    def _container(self, role: aws.iam.Role, after: list[pulumi.Resource]) -> containerinstance.ContainerGroup:
        args, settings = self.args, self.args.settings
        return containerinstance.ContainerGroup(
            f"{self.context.prefix}-courier",
            resource_group_name=args.resource_group_name,
            location=args.location,
            # A group is never changed: another package has another one.
            container_group_name=f"{self.context.prefix}-courier-{args.version}".lower().replace(".", "-")[:63],
            os_type=containerinstance.OperatingSystemTypes.LINUX,
            restart_policy=containerinstance.ContainerGroupRestartPolicy.NEVER,
            identity=containerinstance.ContainerGroupIdentityArgs(
                type=containerinstance.ResourceIdentityType.USER_ASSIGNED,
                user_assigned_identities=[self.identity.id],
            ),
            subnet_ids=[containerinstance.ContainerGroupSubnetIdArgs(id=args.subnet_id)],
            containers=[
                containerinstance.ContainerArgs(
                    name="rclone",
                    image=args.mirror.image(settings.image),
                    command=["/bin/sh", "-c", SCRIPT],
                    environment_variables=[
                        containerinstance.EnvironmentVariableArgs(name=name, value=value)
                        for name, value in self._variables(role).items()
                    ],
                    resources=containerinstance.ResourceRequirementsArgs(
                        requests=containerinstance.ResourceRequestsArgs(cpu=1.0, memory_in_gb=2.0)
                    ),
                )
            ],
            tags=self.context.tags,
            opts=self.child(depends_on=after),
        )

    def _variables(self, role: aws.iam.Role) -> dict[str, pulumi.Input[str]]:
        args, settings = self.args, self.args.settings
        source = pulumi.Output.concat(
            ":s3,env_auth,provider=AWS,region=", args.aws_region, ":", args.bucket_name, "/", args.folder
        )
        target = pulumi.Output.concat(
            ":azureblob,use_msi,msi_client_id=",
            self.identity.client_id,
            ",account=",
            args.account_name,
            ":",
            args.container_name,
            "/",
            args.folder,
        )
        return {
            "AWS_REGION": args.aws_region,
            "AWS_ROLE_ARN": role.arn,
            "AWS_WEB_IDENTITY_TOKEN_FILE": TOKEN_FILE,
            "AZURE_CLIENT_ID": self.identity.client_id,
            "BANDWIDTH": settings.bandwidth,
            "PACKAGE_SOURCE": source,
            "PACKAGE_TARGET": target,
            "TRANSFERS": str(settings.transfers),
        }

    async def _arrived(self, found: list[str]) -> str:
        """The folder, once the container has ended well. A preview does not wait."""
        group, name = found
        waited = 0.0
        while not pulumi.runtime.is_dry_run():
            answer = containerinstance.get_container_group(
                resource_group_name=group, container_group_name=name, opts=pulumi.InvokeOptions(parent=self)
            )
            view = answer.containers[0].instance_view if answer.containers else None
            state = view.current_state if view else None
            ended = state is not None and state.state == "Terminated"
            if state is not None and ended and state.exit_code == 0:
                break
            if ended or waited >= PATIENCE_S:
                how = f"it ended with code {state.exit_code}" if state and ended else "it has not ended within an hour"
                raise PackageCourierError(
                    f"the container group {name} did not bring the package into the storage account: {how}; see what"
                    f" it says with `az container logs --resource-group {group} --name {name}`, mend it, delete the"
                    " group, and run `pulumi up --refresh` again"
                )
            waited += CHECK_S
            await asyncio.sleep(CHECK_S)
        return self.args.folder
