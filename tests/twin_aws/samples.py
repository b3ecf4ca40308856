"""A small account: one representative of every row, in an order in which it can be made.

Strings such as ``$vpc.id`` refer to an output of an earlier one.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pulumi

TAGS = {"owner": "platform", "stack": "test"}
ACCOUNT = "123456789012"


def policy(service: str = "ec2.amazonaws.com") -> str:
    """A trust policy."""
    statement = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


ALLOW = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::x/*"}],
    }
)
PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----"


@dataclass(frozen=True)
class Sample:
    """``change``: inputs of an update. ``replace``: an input whose change needs a new resource."""

    name: str
    type: str
    inputs: dict[str, Any]
    change: dict[str, Any] = field(default_factory=dict)
    replace: dict[str, Any] = field(default_factory=dict)


def code(text: str) -> pulumi.AssetArchive:
    """A Lambda's code."""
    return pulumi.AssetArchive({"handler.py": pulumi.StringAsset(text)})


SAMPLES = (
    Sample(
        "vpc",
        "aws:ec2/vpc:Vpc",
        {"cidrBlock": "10.0.0.0/16", "enableDnsHostnames": True, "enableDnsSupport": True, "tags": TAGS},
        {"tags": {"owner": "other"}, "enableDnsHostnames": False},
        {"cidrBlock": "10.1.0.0/16"},
    ),
    Sample(
        "default-group",
        "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup",
        {"vpcId": "$vpc.id", "tags": TAGS},
    ),
    Sample(
        "subnet",
        "aws:ec2/subnet:Subnet",
        {"vpcId": "$vpc.id", "cidrBlock": "10.0.1.0/24", "availabilityZone": "eu-west-1a", "tags": TAGS},
        {"mapPublicIpOnLaunch": True},
    ),
    Sample(
        "subnet-b",
        "aws:ec2/subnet:Subnet",
        {"vpcId": "$vpc.id", "cidrBlock": "10.0.2.0/24", "availabilityZone": "eu-west-1b", "mapPublicIpOnLaunch": True},
    ),
    Sample("gateway", "aws:ec2/internetGateway:InternetGateway", {"vpcId": "$vpc.id", "tags": TAGS}),
    Sample("eip", "aws:ec2/eip:Eip", {"domain": "vpc", "tags": TAGS}),
    Sample(
        "nat",
        "aws:ec2/natGateway:NatGateway",
        {"allocationId": "$eip.allocationId", "subnetId": "$subnet.id", "tags": TAGS},
    ),
    Sample("table", "aws:ec2/routeTable:RouteTable", {"vpcId": "$vpc.id", "tags": TAGS}),
    Sample(
        "table-inline",
        "aws:ec2/routeTable:RouteTable",
        {"vpcId": "$vpc.id", "routes": [{"cidrBlock": "0.0.0.0/0", "gatewayId": "$gateway.id"}]},
        {"routes": [{"cidrBlock": "10.9.0.0/16", "gatewayId": "$gateway.id"}]},
    ),
    Sample(
        "route",
        "aws:ec2/route:Route",
        {"routeTableId": "$table.id", "destinationCidrBlock": "0.0.0.0/0", "natGatewayId": "$nat.id"},
        {"natGatewayId": None, "gatewayId": "$gateway.id"},
    ),
    Sample(
        "association",
        "aws:ec2/routeTableAssociation:RouteTableAssociation",
        {"routeTableId": "$table.id", "subnetId": "$subnet.id"},
    ),
    Sample(
        "group",
        "aws:ec2/securityGroup:SecurityGroup",
        {
            "vpcId": "$vpc.id",
            "description": "endpoints",
            "ingress": [{"protocol": "tcp", "fromPort": 443, "toPort": 443, "cidrBlocks": ["10.0.0.0/16"]}],
            "egress": [{"protocol": "-1", "fromPort": 0, "toPort": 0, "cidrBlocks": ["0.0.0.0/0"]}],
            "tags": TAGS,
        },
        {"ingress": [{"protocol": "tcp", "fromPort": 8443, "toPort": 8443, "self": True}]},
        {"description": "other"},
    ),
    Sample("bare-group", "aws:ec2/securityGroup:SecurityGroup", {"vpcId": "$vpc.id", "tags": TAGS}),
    Sample(
        "ingress",
        "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule",
        {
            "securityGroupId": "$bare-group.id",
            "ipProtocol": "tcp",
            "fromPort": 80,
            "toPort": 80,
            "cidrIpv4": "10.0.0.0/8",
            "description": "web",
        },
    ),
    Sample(
        "egress",
        "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule",
        {"securityGroupId": "$bare-group.id", "ipProtocol": "-1", "cidrIpv4": "0.0.0.0/0"},
    ),
    Sample(
        "endpoint-s3",
        "aws:ec2/vpcEndpoint:VpcEndpoint",
        {
            "vpcId": "$vpc.id",
            "serviceName": "com.amazonaws.eu-west-1.s3",
            "vpcEndpointType": "Gateway",
            "routeTableIds": ["$table.id"],
            "policy": ALLOW,
            "tags": TAGS,
        },
    ),
    Sample(
        "endpoint-sts",
        "aws:ec2/vpcEndpoint:VpcEndpoint",
        {
            "vpcId": "$vpc.id",
            "serviceName": "com.amazonaws.eu-west-1.sts",
            "vpcEndpointType": "Interface",
            "subnetIds": ["$subnet.id"],
            "securityGroupIds": ["$group.id"],
            "privateDnsEnabled": True,
        },
        {"subnetIds": ["$subnet.id", "$subnet-b.id"]},
    ),
    Sample(
        "flow-group",
        "aws:cloudwatch/logGroup:LogGroup",
        {"name": "/flow", "retentionInDays": 30, "tags": TAGS},
        {"retentionInDays": 60},
    ),
    Sample(
        "role",
        "aws:iam/role:Role",
        {"assumeRolePolicy": policy(), "tags": TAGS},
        {"description": "new", "tags": {"a": "b"}},
    ),
    Sample(
        "flow",
        "aws:ec2/flowLog:FlowLog",
        {
            "vpcId": "$vpc.id",
            "trafficType": "REJECT",
            "logDestinationType": "cloud-watch-logs",
            "logDestination": "$flow-group.arn",
            "iamRoleArn": "$role.arn",
            "maxAggregationInterval": 60,
            "tags": TAGS,
        },
    ),
    Sample(
        "template",
        "aws:ec2/launchTemplate:LaunchTemplate",
        {
            "namePrefix": "gpu-",
            "instanceType": "g5.xlarge",
            "metadataOptions": {"httpTokens": "required", "httpPutResponseHopLimit": 1},
            "blockDeviceMappings": [
                {"deviceName": "/dev/xvda", "ebs": {"encrypted": "true", "volumeSize": 100, "volumeType": "gp3"}}
            ],
            "monitoring": {"enabled": True},
            "vpcSecurityGroupIds": ["$group.id"],
            "tagSpecifications": [{"resourceType": "instance", "tags": TAGS}],
            "updateDefaultVersion": True,
            "tags": TAGS,
        },
        {"instanceType": "g6.xlarge"},
    ),
    Sample(
        "machine",
        "aws:ec2/instance:Instance",
        {
            "subnetId": "$subnet.id",
            "ami": "ami-12c6146b",
            "launchTemplate": {"id": "$template.id", "version": "$template.latestVersion"},
            "tags": TAGS,
        },
        {"tags": {"owner": "x"}},
    ),
    Sample(
        "customer",
        "aws:ec2/customerGateway:CustomerGateway",
        {"bgpAsn": "65000", "ipAddress": "198.51.100.7", "type": "ipsec.1", "tags": TAGS},
    ),
    Sample("vgw", "aws:ec2/vpnGateway:VpnGateway", {"vpcId": "$vpc.id", "tags": TAGS}),
    Sample(
        "vpn",
        "aws:ec2/vpnConnection:VpnConnection",
        {
            "customerGatewayId": "$customer.id",
            "vpnGatewayId": "$vgw.id",
            "type": "ipsec.1",
            "staticRoutesOnly": True,
            "tunnel1IkeVersions": ["ikev2"],
            "tags": TAGS,
        },
    ),
    Sample(
        "vpn-route",
        "aws:ec2/vpnConnectionRoute:VpnConnectionRoute",
        {"destinationCidrBlock": "192.168.0.0/16", "vpnConnectionId": "$vpn.id"},
    ),
    Sample(
        "propagation",
        "aws:ec2/vpnGatewayRoutePropagation:VpnGatewayRoutePropagation",
        {"vpnGatewayId": "$vgw.id", "routeTableId": "$table.id"},
    ),
    Sample(
        "key",
        "aws:kms/key:Key",
        {"description": "data", "enableKeyRotation": True, "deletionWindowInDays": 7, "tags": TAGS},
        {"description": "new"},
    ),
    Sample("alias", "aws:kms/alias:Alias", {"name": "alias/data", "targetKeyId": "$key.keyId"}),
    Sample("inline", "aws:iam/rolePolicy:RolePolicy", {"role": "$role.id", "policy": ALLOW}),
    Sample(
        "managed",
        "aws:iam/policy:Policy",
        {"policy": ALLOW, "path": "/", "tags": TAGS},
        {"policy": ALLOW.replace("x/*", "y/*")},
    ),
    Sample(
        "attachment",
        "aws:iam/rolePolicyAttachment:RolePolicyAttachment",
        {"role": "$role.name", "policyArn": "arn:aws:iam::aws:policy/AmazonEKSClusterPolicy"},
    ),
    Sample(
        "oidc",
        "aws:iam/openIdConnectProvider:OpenIdConnectProvider",
        {
            "url": "https://oidc.example.com/id/1",
            "clientIdLists": ["sts.amazonaws.com"],
            "thumbprintLists": ["a" * 40],
            "tags": TAGS,
        },
    ),
    Sample("profile", "aws:iam/instanceProfile:InstanceProfile", {"role": "$role.name", "tags": TAGS}),
    Sample(
        "anchor",
        "aws:rolesanywhere/trustAnchor:TrustAnchor",
        {
            "name": "on-prem",
            "enabled": True,
            "source": {"sourceType": "CERTIFICATE_BUNDLE", "sourceData": {"x509CertificateData": PEM}},
            "tags": TAGS,
        },
    ),
    Sample(
        "ra-profile",
        "aws:rolesanywhere/profile:Profile",
        {"name": "gateway", "enabled": True, "roleArns": ["$role.arn"], "durationSeconds": 3600},
        {"durationSeconds": 1800},
    ),
    Sample(
        "secret",
        "aws:secretsmanager/secret:Secret",
        {"description": "key", "kmsKeyId": "$key.arn", "recoveryWindowInDays": 7, "tags": TAGS},
    ),
    Sample(
        "secret-value",
        "aws:secretsmanager/secretVersion:SecretVersion",
        {"secretId": "$secret.id", "secretString": "s3cret"},
    ),
    Sample(
        "parameter",
        "aws:ssm/parameter:Parameter",
        {"name": "/spillway/cut-off", "type": "String", "value": '{"closed": []}', "tags": TAGS},
        {"value": '{"closed": ["P2"]}'},
    ),
    Sample(
        "secure-parameter",
        "aws:ssm/parameter:Parameter",
        {"name": "/spillway/key", "type": "SecureString", "value": "s3cret"},
    ),
    Sample(
        "certificate",
        "aws:acm/certificate:Certificate",
        {
            "domainName": "api.example.com",
            "validationMethod": "DNS",
            "subjectAlternativeNames": ["b.example.com"],
            "tags": TAGS,
        },
    ),
    Sample(
        "validation",
        "aws:acm/certificateValidation:CertificateValidation",
        {"certificateArn": "$certificate.arn", "validationRecordFqdns": ["_a.example.com"]},
    ),
    Sample(
        "cluster",
        "aws:eks/cluster:Cluster",
        {
            "roleArn": "$role.arn",
            "version": "1.33",
            "vpcConfig": {
                "subnetIds": ["$subnet.id", "$subnet-b.id"],
                "endpointPrivateAccess": True,
                "endpointPublicAccess": False,
            },
            "enabledClusterLogTypes": ["api", "audit"],
            "encryptionConfig": {"provider": {"keyArn": "$key.arn"}, "resources": ["secrets"]},
            "accessConfig": {"authenticationMode": "API", "bootstrapClusterCreatorAdminPermissions": False},
            "upgradePolicy": {"supportType": "STANDARD"},
            "bootstrapSelfManagedAddons": False,
            "tags": TAGS,
        },
        {"version": "1.34", "enabledClusterLogTypes": ["api"]},
        {"roleArn": "arn:aws:iam::123456789012:role/other"},
    ),
    Sample(
        "nodes",
        "aws:eks/nodeGroup:NodeGroup",
        {
            "clusterName": "$cluster.name",
            "nodeRoleArn": "$role.arn",
            "subnetIds": ["$subnet.id"],
            "scalingConfig": {"desiredSize": 1, "minSize": 1, "maxSize": 3},
            "launchTemplate": {"id": "$template.id", "version": "1"},
            "taints": [{"key": "nvidia.com/gpu", "value": "true", "effect": "NO_SCHEDULE"}],
            "labels": {"gpu": "true"},
            "amiType": "AL2023_x86_64_NVIDIA",
            "capacityType": "ON_DEMAND",
            "updateConfig": {"maxUnavailable": 1},
            "nodeRepairConfig": {"enabled": True},
            "tags": TAGS,
        },
        {"scalingConfig": {"desiredSize": 2, "minSize": 1, "maxSize": 4}},
    ),
    Sample(
        "addon",
        "aws:eks/addon:Addon",
        {
            "clusterName": "$cluster.name",
            "addonName": "vpc-cni",
            "resolveConflictsOnCreate": "OVERWRITE",
            "resolveConflictsOnUpdate": "OVERWRITE",
            "podIdentityAssociations": [{"roleArn": "$role.arn", "serviceAccount": "aws-node"}],
            "tags": TAGS,
        },
        {"configurationValues": "{}"},
    ),
    Sample(
        "entry",
        "aws:eks/accessEntry:AccessEntry",
        {"clusterName": "$cluster.name", "principalArn": "$role.arn", "type": "STANDARD", "tags": TAGS},
        {"kubernetesGroups": ["admins"]},
    ),
    Sample(
        "entry-policy",
        "aws:eks/accessPolicyAssociation:AccessPolicyAssociation",
        {
            "clusterName": "$cluster.name",
            "principalArn": "$role.arn",
            "policyArn": "arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy",
            "accessScope": {"type": "cluster"},
        },
    ),
    Sample(
        "pod-identity",
        "aws:eks/podIdentityAssociation:PodIdentityAssociation",
        {
            "clusterName": "$cluster.name",
            "namespace": "kube-system",
            "serviceAccount": "autoscaler",
            "roleArn": "$role.arn",
            "tags": TAGS,
        },
    ),
    Sample(
        "topic",
        "aws:sns/topic:Topic",
        {"displayName": "alarms", "kmsMasterKeyId": "alias/aws/sns", "tags": TAGS},
        {"displayName": "b"},
    ),
    Sample("topic-policy", "aws:sns/topicPolicy:TopicPolicy", {"arn": "$topic.arn", "policy": ALLOW}),
    Sample(
        "queue",
        "aws:sqs/queue:Queue",
        {"visibilityTimeoutSeconds": 60, "sqsManagedSseEnabled": True, "tags": TAGS},
        {"visibilityTimeoutSeconds": 90},
    ),
    Sample("queue-policy", "aws:sqs/queuePolicy:QueuePolicy", {"queueUrl": "$queue.url", "policy": ALLOW}),
    Sample(
        "subscription",
        "aws:sns/topicSubscription:TopicSubscription",
        {"topic": "$topic.arn", "protocol": "sqs", "endpoint": "$queue.arn", "rawMessageDelivery": True},
        {"rawMessageDelivery": False},
    ),
    Sample(
        "function",
        "aws:lambda/function:Function",
        {
            "role": "$role.arn",
            "runtime": "python3.12",
            "handler": "handler.main",
            "code": code("def main(event, context): return 1"),
            "environment": {"variables": {"STACK": "test"}},
            "timeout": 30,
            "memorySize": 256,
            "architectures": ["arm64"],
            "tracingConfig": {"mode": "Active"},
            "deadLetterConfig": {"targetArn": "$queue.arn"},
            "loggingConfig": {"logFormat": "JSON", "logGroup": "$flow-group.name"},
            "reservedConcurrentExecutions": 1,
            "kmsKeyArn": "$key.arn",
            "tags": TAGS,
        },
        {"timeout": 60, "code": code("def main(event, context): return 2")},
    ),
    Sample(
        "alias-live",
        "aws:lambda/alias:Alias",
        {"functionName": "$function.name", "functionVersion": "$LATEST", "name": "live"},
    ),
    Sample(
        "invoke-config",
        "aws:lambda/functionEventInvokeConfig:FunctionEventInvokeConfig",
        {"functionName": "$function.name", "maximumRetryAttempts": 0, "maximumEventAgeInSeconds": 60},
    ),
    Sample(
        "permission",
        "aws:lambda/permission:Permission",
        {
            "function": "$function.name",
            "action": "lambda:InvokeFunction",
            "principal": "sns.amazonaws.com",
            "sourceArn": "$topic.arn",
        },
    ),
    Sample(
        "mapping",
        "aws:lambda/eventSourceMapping:EventSourceMapping",
        {"functionName": "$function.name", "eventSourceArn": "$queue.arn", "batchSize": 5},
    ),
    Sample(
        "alarm",
        "aws:cloudwatch/metricAlarm:MetricAlarm",
        {
            "comparisonOperator": "GreaterThanThreshold",
            "evaluationPeriods": 1,
            "metricName": "BurstDollarsPerHour",
            "namespace": "Spillway",
            "period": 60,
            "statistic": "Maximum",
            "threshold": 50,
            "dimensions": {"Stack": "test"},
            "alarmActions": ["$topic.arn"],
            "treatMissingData": "notBreaching",
            "tags": TAGS,
        },
        {"threshold": 60},
    ),
    Sample(
        "math-alarm",
        "aws:cloudwatch/metricAlarm:MetricAlarm",
        {
            "comparisonOperator": "GreaterThanThreshold",
            "evaluationPeriods": 1,
            "threshold": 1.2,
            "metricQueries": [
                {"id": "e1", "expression": "m1 / m2", "label": "per GPU", "returnData": True},
                {
                    "id": "m1",
                    "metric": {
                        "metricName": "D",
                        "namespace": "Spillway",
                        "period": 60,
                        "stat": "Sum",
                        "dimensions": {"A": "b"},
                    },
                },
                {"id": "m2", "metric": {"metricName": "G", "namespace": "Spillway", "period": 60, "stat": "Sum"}},
            ],
        },
    ),
    Sample(
        "composite",
        "aws:cloudwatch/compositeAlarm:CompositeAlarm",
        {
            "alarmName": "both",
            "alarmRule": "ALARM($alarm.name) OR ALARM($math-alarm.name)",
            "alarmActions": ["$topic.arn"],
            "tags": TAGS,
        },
    ),
    Sample(
        "dashboard", "aws:cloudwatch/dashboard:Dashboard", {"dashboardName": "main", "dashboardBody": '{"widgets": []}'}
    ),
    Sample(
        "filter",
        "aws:cloudwatch/logMetricFilter:LogMetricFilter",
        {
            "logGroupName": "$flow-group.name",
            "pattern": "ERROR",
            "metricTransformation": {"name": "Errors", "namespace": "Spillway", "value": "1"},
        },
    ),
    Sample(
        "rule",
        "aws:cloudwatch/eventRule:EventRule",
        {"scheduleExpression": "rate(1 minute)", "state": "ENABLED", "tags": TAGS},
        {"state": "DISABLED"},
    ),
    Sample(
        "target",
        "aws:cloudwatch/eventTarget:EventTarget",
        {"rule": "$rule.name", "arn": "$function.arn", "retryPolicy": {"maximumRetryAttempts": 2}},
    ),
    Sample("schedules", "aws:scheduler/scheduleGroup:ScheduleGroup", {"tags": TAGS}),
    Sample(
        "schedule",
        "aws:scheduler/schedule:Schedule",
        {
            "scheduleExpression": "rate(1 minutes)",
            "flexibleTimeWindow": {"mode": "OFF"},
            "target": {"arn": "$function.arn", "roleArn": "$role.arn", "retryPolicy": {"maximumRetryAttempts": 0}},
        },
        {"state": "DISABLED"},
    ),
    Sample(
        "model",
        "aws:sagemaker/model:Model",
        {
            "executionRoleArn": "$role.arn",
            "enableNetworkIsolation": True,
            "primaryContainer": {
                "image": "123456789012.dkr.ecr.eu-west-1.amazonaws.com/triton:1",
                "environment": {"A": "b"},
                "modelDataSource": {
                    "s3DataSources": [
                        {"s3Uri": "s3://models/m.tar.gz", "s3DataType": "S3Object", "compressionType": "Gzip"}
                    ]
                },
            },
            "vpcConfig": {"subnets": ["$subnet.id"], "securityGroupIds": ["$group.id"]},
            "tags": TAGS,
        },
    ),
    Sample(
        "config",
        "aws:sagemaker/endpointConfiguration:EndpointConfiguration",
        {
            "kmsKeyArn": "$key.arn",
            "productionVariants": [
                {
                    "variantName": "main",
                    "modelName": "$model.name",
                    "instanceType": "ml.g6.xlarge",
                    "initialInstanceCount": 1,
                    "inferenceAmiVersion": "al2-ami-sagemaker-inference-gpu-3-1",
                    "containerStartupHealthCheckTimeoutInSeconds": 600,
                    "managedInstanceScaling": {"status": "ENABLED", "minInstanceCount": 1, "maxInstanceCount": 2},
                }
            ],
            "dataCaptureConfig": {
                "enableCapture": True,
                "initialSamplingPercentage": 1,
                "destinationS3Uri": "s3://models/capture",
                "captureOptions": [{"captureMode": "Input"}],
            },
            "tags": TAGS,
        },
    ),
    Sample(
        "config-async",
        "aws:sagemaker/endpointConfiguration:EndpointConfiguration",
        {
            "productionVariants": [
                {
                    "variantName": "main",
                    "modelName": "$model.name",
                    "instanceType": "ml.g5.xlarge",
                    "initialInstanceCount": 2,
                }
            ],
            "asyncInferenceConfig": {
                "outputConfig": {
                    "s3OutputPath": "s3://models/out",
                    "notificationConfig": {"errorTopic": "$topic.arn", "successTopic": "$topic.arn"},
                },
                "clientConfig": {"maxConcurrentInvocationsPerInstance": 4},
            },
        },
    ),
    Sample(
        "endpoint",
        "aws:sagemaker/endpoint:Endpoint",
        {
            "endpointConfigName": "$config.name",
            "deploymentConfig": {
                "blueGreenUpdatePolicy": {
                    "trafficRoutingConfiguration": {
                        "type": "CANARY",
                        "waitIntervalInSeconds": 300,
                        "canarySize": {"type": "CAPACITY_PERCENT", "value": 10},
                    },
                    "terminationWaitInSeconds": 300,
                },
                "autoRollbackConfiguration": {"alarms": [{"alarmName": "$alarm.name"}]},
            },
            "tags": TAGS,
        },
        {"endpointConfigName": "$config-async.name"},
        {"name": "other"},
    ),
    Sample(
        "packages",
        "aws:sagemaker/modelPackageGroup:ModelPackageGroup",
        {"modelPackageGroupName": "spillway", "tags": TAGS},
    ),
    Sample(
        "scaling",
        "aws:appautoscaling/target:Target",
        {
            "serviceNamespace": "sagemaker",
            "resourceId": "endpoint/$endpoint.name/variant/main",
            "scalableDimension": "sagemaker:variant:DesiredInstanceCount",
            "minCapacity": 1,
            "maxCapacity": 4,
            "tags": TAGS,
        },
        {"maxCapacity": 6},
    ),
    Sample(
        "tracking",
        "aws:appautoscaling/policy:Policy",
        {
            "serviceNamespace": "sagemaker",
            "resourceId": "$scaling.resourceId",
            "scalableDimension": "$scaling.scalableDimension",
            "policyType": "TargetTrackingScaling",
            "targetTrackingScalingPolicyConfiguration": {
                "targetValue": 70,
                "scaleInCooldown": 300,
                "predefinedMetricSpecification": {"predefinedMetricType": "SageMakerVariantInvocationsPerInstance"},
            },
        },
    ),
    Sample(
        "stepping",
        "aws:appautoscaling/policy:Policy",
        {
            "serviceNamespace": "sagemaker",
            "resourceId": "$scaling.resourceId",
            "scalableDimension": "$scaling.scalableDimension",
            "policyType": "StepScaling",
            "stepScalingPolicyConfiguration": {
                "adjustmentType": "ExactCapacity",
                "metricAggregationType": "Average",
                "cooldown": 60,
                "stepAdjustments": [{"metricIntervalLowerBound": "0", "scalingAdjustment": 1}],
            },
        },
    ),
    Sample(
        "nightly",
        "aws:appautoscaling/scheduledAction:ScheduledAction",
        {
            "serviceNamespace": "sagemaker",
            "resourceId": "$scaling.resourceId",
            "scalableDimension": "$scaling.scalableDimension",
            "schedule": "cron(0 22 * * ? *)",
            "scalableTargetAction": {"minCapacity": 1, "maxCapacity": 1},
        },
    ),
    Sample("bucket", "aws:s3/bucket:Bucket", {"forceDestroy": True, "tags": TAGS}, {"tags": {"owner": "x"}}),
    Sample(
        "versioning",
        "aws:s3/bucketVersioning:BucketVersioning",
        {"bucket": "$bucket.bucket", "versioningConfiguration": {"status": "Enabled"}},
    ),
    Sample(
        "encryption",
        "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration",
        {
            "bucket": "$bucket.id",
            "rules": [
                {
                    "applyServerSideEncryptionByDefault": {"sseAlgorithm": "aws:kms", "kmsMasterKeyId": "$key.arn"},
                    "bucketKeyEnabled": True,
                }
            ],
        },
    ),
    Sample(
        "bucket-policy",
        "aws:s3/bucketPolicy:BucketPolicy",
        {"bucket": "$bucket.id", "policy": ALLOW},
    ),
    Sample(
        "public-access",
        "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock",
        {
            "bucket": "$bucket.id",
            "blockPublicAcls": True,
            "blockPublicPolicy": True,
            "ignorePublicAcls": True,
            "restrictPublicBuckets": True,
        },
    ),
    Sample(
        "ownership",
        "aws:s3/bucketOwnershipControls:BucketOwnershipControls",
        {"bucket": "$bucket.id", "rule": {"objectOwnership": "BucketOwnerEnforced"}},
    ),
    Sample(
        "lifecycle",
        "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration",
        {
            "bucket": "$bucket.id",
            "rules": [
                {
                    "id": "old",
                    "status": "Enabled",
                    "filter": {"prefix": ""},
                    "noncurrentVersionExpiration": {"noncurrentDays": 30},
                    "abortIncompleteMultipartUpload": {"daysAfterInitiation": 7},
                }
            ],
        },
    ),
    Sample("logs", "aws:s3/bucket:Bucket", {"bucket": "spillway-test-logs", "forceDestroy": True}),
    Sample("bucket-acl", "aws:s3/bucketAcl:BucketAcl", {"bucket": "$logs.id", "acl": "log-delivery-write"}),
    Sample(
        "logging",
        "aws:s3/bucketLogging:BucketLogging",
        {"bucket": "$bucket.id", "targetBucket": "$logs.id", "targetPrefix": "s3/"},
    ),
    Sample(
        "notification",
        "aws:s3/bucketNotification:BucketNotification",
        {
            "bucket": "$bucket.id",
            "queues": [{"queueArn": "$queue.arn", "events": ["s3:ObjectCreated:*"], "filterPrefix": "in/"}],
        },
    ),
    Sample(
        "object",
        "aws:s3/bucketObjectv2:BucketObjectv2",
        {
            "bucket": "$bucket.id",
            "key": "a/b.txt",
            "source": pulumi.StringAsset("hello"),
            "contentType": "text/plain",
            "tags": TAGS,
        },
        {"source": pulumi.StringAsset("goodbye")},
    ),
    Sample(
        "repository",
        "aws:ecr/repository:Repository",
        {
            "name": "spillway/gateway",
            "imageTagMutability": "IMMUTABLE",
            "imageScanningConfiguration": {"scanOnPush": True},
            "encryptionConfigurations": [{"encryptionType": "KMS", "kmsKey": "$key.arn"}],
            "forceDelete": True,
            "tags": TAGS,
        },
        {"imageTagMutability": "MUTABLE"},
    ),
    Sample(
        "repository-lifecycle",
        "aws:ecr/lifecyclePolicy:LifecyclePolicy",
        {
            "repository": "$repository.name",
            "policy": json.dumps(
                {
                    "rules": [
                        {
                            "rulePriority": 1,
                            "selection": {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 9},
                            "action": {"type": "expire"},
                        }
                    ]
                }
            ),
        },
    ),
    Sample(
        "repository-policy",
        "aws:ecr/repositoryPolicy:RepositoryPolicy",
        {"repository": "$repository.name", "policy": ALLOW},
    ),
    Sample("cache-subnets", "aws:elasticache/subnetGroup:SubnetGroup", {"subnetIds": ["$subnet.id"], "tags": TAGS}),
    Sample(
        "cache-parameters",
        "aws:elasticache/parameterGroup:ParameterGroup",
        {"family": "redis7", "parameters": [{"name": "maxmemory-policy", "value": "allkeys-lru"}]},
    ),
    Sample(
        "cache",
        "aws:elasticache/replicationGroup:ReplicationGroup",
        {
            "description": "cache",
            "engine": "redis",
            "nodeType": "cache.t4g.small",
            "numCacheClusters": 2,
            "automaticFailoverEnabled": True,
            "multiAzEnabled": True,
            "atRestEncryptionEnabled": True,
            "transitEncryptionEnabled": True,
            "subnetGroupName": "$cache-subnets.name",
            "securityGroupIds": ["$group.id"],
            "tags": TAGS,
        },
        {"description": "new"},
    ),
    Sample(
        "zone", "aws:route53/zone:Zone", {"name": "example.com", "forceDestroy": True, "tags": TAGS}, {"comment": "new"}
    ),
    Sample(
        "private-zone",
        "aws:route53/zone:Zone",
        {"name": "internal.example.com", "vpcs": [{"vpcId": "$vpc.id"}]},
    ),
    Sample(
        "check",
        "aws:route53/healthCheck:HealthCheck",
        {
            "type": "CLOUDWATCH_METRIC",
            "cloudwatchAlarmName": "$alarm.name",
            "cloudwatchAlarmRegion": "eu-west-1",
            "insufficientDataHealthStatus": "Unhealthy",
            "tags": TAGS,
        },
        {"insufficientDataHealthStatus": "Healthy"},
    ),
    Sample(
        "calculated",
        "aws:route53/healthCheck:HealthCheck",
        {"type": "CALCULATED", "childHealthThreshold": 1, "childHealthchecks": ["$check.id"]},
    ),
    Sample(
        "record",
        "aws:route53/record:Record",
        {
            "zoneId": "$zone.zoneId",
            "name": "api",
            "type": "A",
            "ttl": 10,
            "records": ["192.0.2.1"],
            "setIdentifier": "primary",
            "healthCheckId": "$check.id",
            "failoverRoutingPolicies": [{"type": "PRIMARY"}],
        },
        {"ttl": 20},
    ),
    Sample(
        "balancer",
        "aws:lb/loadBalancer:LoadBalancer",
        {
            "internal": False,
            "loadBalancerType": "application",
            "securityGroups": ["$group.id"],
            "subnets": ["$subnet.id", "$subnet-b.id"],
            "dropInvalidHeaderFields": True,
            "idleTimeout": 120,
            "tags": TAGS,
        },
        {"idleTimeout": 60},
        {"internal": True},
    ),
    Sample(
        "targets",
        "aws:lb/targetGroup:TargetGroup",
        {
            "port": 8080,
            "protocol": "HTTP",
            "targetType": "ip",
            "vpcId": "$vpc.id",
            "deregistrationDelay": 30,
            "healthCheck": {"path": "/ready", "interval": 10, "healthyThreshold": 2, "matcher": "200"},
            "tags": TAGS,
        },
        {"healthCheck": {"path": "/live", "interval": 10}},
        {"port": 9090},
    ),
    Sample(
        "listener",
        "aws:lb/listener:Listener",
        {
            "loadBalancerArn": "$balancer.arn",
            "port": 443,
            "protocol": "HTTPS",
            "sslPolicy": "ELBSecurityPolicy-TLS13-1-2-2021-06",
            "certificateArn": "$certificate.arn",
            "defaultActions": [{"type": "forward", "targetGroupArn": "$targets.arn"}],
            "tags": TAGS,
        },
        {"port": 8443},
    ),
    Sample(
        "listener-rule",
        "aws:lb/listenerRule:ListenerRule",
        {
            "listenerArn": "$listener.arn",
            "priority": 10,
            "actions": [
                {"type": "fixed-response", "fixedResponse": {"contentType": "text/plain", "statusCode": "404"}}
            ],
            "conditions": [{"pathPattern": {"values": ["/admin/*"]}}],
        },
    ),
    Sample(
        "resolver",
        "aws:route53/resolverEndpoint:ResolverEndpoint",
        {
            "direction": "INBOUND",
            "securityGroupIds": ["$group.id"],
            "ipAddresses": [{"subnetId": "$subnet.id"}, {"subnetId": "$subnet-b.id"}],
            "tags": TAGS,
        },
    ),
    Sample(
        "acl",
        "aws:wafv2/webAcl:WebAcl",
        {
            "scope": "REGIONAL",
            "defaultAction": {"allow": {}},
            "rules": [
                {
                    "name": "reputation",
                    "priority": 0,
                    "overrideAction": {"none": {}},
                    "statement": {
                        "managedRuleGroupStatement": {
                            "name": "AWSManagedRulesAmazonIpReputationList",
                            "vendorName": "AWS",
                        }
                    },
                    "visibilityConfig": {
                        "cloudwatchMetricsEnabled": True,
                        "metricName": "reputation",
                        "sampledRequestsEnabled": False,
                    },
                }
            ],
            "visibilityConfig": {
                "cloudwatchMetricsEnabled": True,
                "metricName": "acl",
                "sampledRequestsEnabled": False,
            },
            "tags": TAGS,
        },
        {"rules": []},
    ),
    Sample(
        "acl-association",
        "aws:wafv2/webAclAssociation:WebAclAssociation",
        {"resourceArn": "$balancer.arn", "webAclArn": "$acl.arn"},
    ),
    Sample(
        "balancer-record",
        "aws:route53/record:Record",
        {
            "zoneId": "$zone.zoneId",
            "name": "api.example.com",
            "type": "A",
            "setIdentifier": "secondary",
            "failoverRoutingPolicies": [{"type": "SECONDARY"}],
            "aliases": [{"name": "$balancer.dnsName", "zoneId": "$balancer.zoneId", "evaluateTargetHealth": True}],
        },
    ),
    Sample(
        "ecs",
        "aws:ecs/cluster:Cluster",
        {"settings": [{"name": "containerInsights", "value": "enabled"}], "tags": TAGS},
    ),
    Sample(
        "ecs-providers",
        "aws:ecs/clusterCapacityProviders:ClusterCapacityProviders",
        {"clusterName": "$ecs.name", "capacityProviders": ["FARGATE"]},
    ),
    Sample(
        "task",
        "aws:ecs/taskDefinition:TaskDefinition",
        {
            "family": "gateway",
            "cpu": "512",
            "memory": "1024",
            "networkMode": "awsvpc",
            "requiresCompatibilities": ["FARGATE"],
            "executionRoleArn": "$role.arn",
            "taskRoleArn": "$role.arn",
            "runtimePlatform": {"cpuArchitecture": "ARM64", "operatingSystemFamily": "LINUX"},
            "volumes": [{"name": "config"}],
            "containerDefinitions": json.dumps(
                [
                    {
                        "name": "envoy",
                        "image": "envoy:1",
                        "essential": True,
                        "portMappings": [{"containerPort": 8080, "protocol": "tcp"}],
                    }
                ]
            ),
            "tags": TAGS,
        },
    ),
    Sample(
        "service",
        "aws:ecs/service:Service",
        {
            "cluster": "$ecs.arn",
            "taskDefinition": "$task.arn",
            "desiredCount": 2,
            "launchType": "FARGATE",
            "networkConfiguration": {
                "subnets": ["$subnet.id"],
                "securityGroups": ["$group.id"],
                "assignPublicIp": False,
            },
            "loadBalancers": [{"targetGroupArn": "$targets.arn", "containerName": "envoy", "containerPort": 8080}],
            "deploymentCircuitBreaker": {"enable": True, "rollback": True},
            "deploymentMinimumHealthyPercent": 100,
            "tags": TAGS,
        },
        {"desiredCount": 3},
    ),
    Sample(
        "group-of-machines",
        "aws:autoscaling/group:Group",
        {
            "minSize": 0,
            "maxSize": 2,
            "desiredCapacity": 0,
            "vpcZoneIdentifiers": ["$subnet.id"],
            "launchTemplate": {"id": "$template.id", "version": "$Latest"},
            "tags": [{"key": "owner", "value": "platform", "propagateAtLaunch": True}],
        },
        {"maxSize": 3},
    ),
    Sample(
        "budget",
        "aws:budgets/budget:Budget",
        {
            "budgetType": "COST",
            "timeUnit": "MONTHLY",
            "limitAmount": "1000",
            "limitUnit": "USD",
            "costFilters": [{"name": "Service", "values": ["Amazon SageMaker"]}],
            "notifications": [
                {
                    "comparisonOperator": "GREATER_THAN",
                    "notificationType": "ACTUAL",
                    "threshold": 80,
                    "thresholdType": "PERCENTAGE",
                    "subscriberSnsTopicArns": ["$topic.arn"],
                }
            ],
            "tags": TAGS,
        },
        {"limitAmount": "2000"},
    ),
    Sample(
        "budget-action",
        "aws:budgets/budgetAction:BudgetAction",
        {
            "budgetName": "$budget.name",
            "actionType": "APPLY_IAM_POLICY",
            "approvalModel": "AUTOMATIC",
            "notificationType": "ACTUAL",
            "executionRoleArn": "$role.arn",
            "actionThreshold": {"actionThresholdType": "PERCENTAGE", "actionThresholdValue": 100},
            "definition": {"iamActionDefinition": {"policyArn": "$managed.arn", "roles": ["$role.name"]}},
            "subscribers": [{"address": "$topic.arn", "subscriptionType": "SNS"}],
            "tags": TAGS,
        },
        {"approvalModel": "MANUAL"},
    ),
    Sample(
        "monitor",
        "aws:costexplorer/anomalyMonitor:AnomalyMonitor",
        {"name": "services", "monitorType": "DIMENSIONAL", "monitorDimension": "SERVICE", "tags": TAGS},
        {"name": "all-services"},
    ),
    Sample(
        "anomalies",
        "aws:costexplorer/anomalySubscription:AnomalySubscription",
        {
            "name": "anomalies",
            "frequency": "IMMEDIATE",
            "monitorArnLists": ["$monitor.arn"],
            "subscribers": [{"type": "SNS", "address": "$topic.arn"}],
            "thresholdExpression": {
                "dimension": {
                    "key": "ANOMALY_TOTAL_IMPACT_ABSOLUTE",
                    "values": ["100"],
                    "matchOptions": ["GREATER_THAN_OR_EQUAL"],
                }
            },
            "tags": TAGS,
        },
    ),
)
