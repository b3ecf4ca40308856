"""Functions. Calls of them are queued: the twin's function runner makes them, no container does."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from spillway.twin.aws.row import Part, Row, Scope, Tags
from spillway.twin.aws.sample import OWNED, Sample, Zip
from spillway.twin.aws.service import ACCOUNT, QueueCall, Service

_TAGS = Tags("TagResource", "UntagResource", {"Resource": "{arn}"})
_FUNCTION = [
    "description",
    "deadLetterConfig",
    "environment",
    "ephemeralStorage",
    "fileSystemConfig",
    "handler",
    "imageConfig",
    "kmsKeyArn",
    "layers",
    "loggingConfig",
    "memorySize",
    "role",
    "runtime",
    "snapStart",
    "timeout",
    "tracingConfig",
    "vpcConfig",
]
_CODE = ("code", "s3Bucket", "s3Key", "s3ObjectVersion", "imageUri", "architectures", "sourceCodeHash")
_FUNCTION_RENAME = {
    "name": "FunctionName",
    "kmsKeyArn": "KMSKeyArn",
    "fileSystemConfig": "FileSystemConfigs",
    "environment.variables": "Variables",
    "imageConfig.commands": "Command",
    "s3Bucket": "Code.S3Bucket",
    "s3Key": "Code.S3Key",
    "s3ObjectVersion": "Code.S3ObjectVersion",
    "imageUri": "Code.ImageUri",
    "sourceCodeHash": "",
    "code": "Code.ZipFile",
}


def _code(scope: Scope) -> list[dict[str, Any]]:
    params: dict[str, Any] = {"FunctionName": scope["id"]}
    if scope.get("code") is not None:
        # Pulumi costs half a second, and the server, which knows the rows too, reads no archive.
        from spillway.twin.aws.archives import archive_bytes

        params["ZipFile"] = archive_bytes(scope["code"])
    for name, member in (
        ("s3Bucket", "S3Bucket"),
        ("s3Key", "S3Key"),
        ("s3ObjectVersion", "S3ObjectVersion"),
        ("imageUri", "ImageUri"),
        ("architectures", "Architectures"),
    ):
        if scope.get(name) is not None:
            params[member] = scope[name]
    return [params]


_ROWS = (
    Row(
        token="aws:lambda/permission:Permission",
        service="lambda",
        create="AddPermission",
        id="{statementId}",
        rename={"function": "FunctionName"},
        key={"FunctionName": "{function}", "StatementId": "{statementId}"},
        read="GetPolicy",
        read_key={"FunctionName": "{function}", "Qualifier": "{qualifier}"},
        delete="RemovePermission",
        name="statementId",
        samples=(
            Sample(
                "permission",
                {
                    "function": "$function.name",
                    "action": "lambda:InvokeFunction",
                    "principal": "sns.amazonaws.com",
                    "sourceArn": "$topic.arn",
                },
            ),
        ),
    ),
    Row(
        token="aws:lambda/function:Function",
        service="lambda",
        create="CreateFunction",
        id="{name}",
        noun="Function",
        rename=_FUNCTION_RENAME,
        key={"FunctionName": "{id}"},
        read="GetFunction",
        live="Configuration",
        delete="DeleteFunction",
        parts=(
            Part("UpdateFunctionConfiguration", tuple(_FUNCTION), update_only=True),
            Part("UpdateFunctionCode", _CODE, build=_code, update_only=True),
            Part("PutFunctionConcurrency", ("reservedConcurrentExecutions",), undo="DeleteFunctionConcurrency"),
        ),
        local=(
            "skipDestroy",
            "publishTo",
            "replaceSecurityGroupsOnDestroy",
            "replacementSecurityGroupIds",
            "useResourceTimeoutForPropagation",
            "codeSha256",
        ),
        outputs={
            "arn": "@FunctionArn",
            "invokeArn": "arn:{partition}:apigateway:{region}:lambda:path/2015-03-31/functions/{arn}/invocations",
            "qualifiedArn": "{arn}:$LATEST",
            "sourceCodeSize": "@CodeSize",
        },
        tags=_TAGS,
        note="code is stored; calls are queued for the twin's function runner",
        coverage="filled",
        samples=(
            Sample(
                "function",
                {
                    "role": "$role.arn",
                    "runtime": "python3.12",
                    "handler": "handler.main",
                    "code": Zip({"handler.py": "def main(event, context): return 1"}),
                    "environment": {"variables": {"STACK": "test"}},
                    "timeout": 30,
                    "memorySize": 256,
                    "architectures": ["arm64"],
                    "tracingConfig": {"mode": "Active"},
                    "deadLetterConfig": {"targetArn": "$queue.arn"},
                    "loggingConfig": {"logFormat": "JSON", "logGroup": "$flow-group.name"},
                    "reservedConcurrentExecutions": 1,
                    "kmsKeyArn": "$key.arn",
                    "tags": OWNED,
                },
                change={"timeout": 60, "code": Zip({"handler.py": "def main(event, context): return 2"})},
            ),
        ),
    ),
    Row(
        token="aws:lambda/alias:Alias",
        service="lambda",
        create="CreateAlias",
        id="@AliasArn",
        noun="Alias",
        rename={"name": "Name"},
        key={"FunctionName": "{functionName}", "Name": "{name}"},
        read="GetAlias",
        delete="DeleteAlias",
        parts=(Part("UpdateAlias", ("functionVersion", "description", "routingConfig"), update_only=True),),
        outputs={"arn": "@AliasArn"},
        samples=(
            Sample("alias-live", {"functionName": "$function.name", "functionVersion": "$LATEST", "name": "live"}),
        ),
    ),
    Row(
        token="aws:lambda/functionEventInvokeConfig:FunctionEventInvokeConfig",
        service="lambda",
        create="PutFunctionEventInvokeConfig",
        id="{functionName}",
        key={"FunctionName": "{functionName}", "Qualifier": "{qualifier}"},
        read="GetFunctionEventInvokeConfig",
        delete="DeleteFunctionEventInvokeConfig",
        parts=(
            Part(
                "PutFunctionEventInvokeConfig",
                ("maximumEventAgeInSeconds", "maximumRetryAttempts", "destinationConfig"),
                update_only=True,
            ),
        ),
        name="",
        samples=(
            Sample(
                "invoke-config",
                {"functionName": "$function.name", "maximumRetryAttempts": 0, "maximumEventAgeInSeconds": 60},
            ),
        ),
    ),
    Row(
        token="aws:lambda/eventSourceMapping:EventSourceMapping",
        service="lambda",
        create="CreateEventSourceMapping",
        id="@UUID",
        key={"UUID": "{id}"},
        read="GetEventSourceMapping",
        delete="DeleteEventSourceMapping",
        parts=(
            Part(
                "UpdateEventSourceMapping", ("batchSize", "enabled", "maximumBatchingWindowInSeconds"), update_only=True
            ),
        ),
        name="",
        outputs={"uuid": "{id}", "functionArn": "@FunctionArn"},
        samples=(
            Sample("mapping", {"functionName": "$function.name", "eventSourceArn": "$queue.arn", "batchSize": 5}),
        ),
    ),
)


def _patch(queue_call: QueueCall) -> None:
    """Calls of functions are queued: the twin runs them, no container does."""
    from moto.awslambda.models import LambdaBackend, LambdaFunction

    def invoke(function: Any, body: Any, request_headers: Any, response_headers: Any) -> str | bytes:
        payload = json.loads(body) if body else {}
        queue_call(function.function_arn, payload, "invoke")
        return b"{}"

    def send_sns_message(
        _: Any, function_name: str, message: str, subject: str | None = None, qualifier: str | None = None
    ) -> None:
        sns = {
            "Type": "Notification",
            "Message": message,
            "Subject": subject,
            "Timestamp": datetime.now(UTC).isoformat(),
        }
        record = {"EventSource": "aws:sns", "EventVersion": "1.0", "Sns": sns}
        queue_call(function_name, {"Records": [record]}, "sns")

    def send_sqs_batch(_: Any, function_arn: str, messages: Any, queue_arn: str) -> bool:
        records = [
            {"messageId": m.id, "body": m.body, "eventSourceARN": queue_arn, "eventSource": "aws:sqs"} for m in messages
        ]
        queue_call(function_arn, {"Records": records}, "sqs")
        return True

    functions: Any = LambdaFunction
    backends: Any = LambdaBackend
    functions.invoke = invoke
    backends.send_sns_message = send_sns_message
    backends.send_sqs_batch = send_sqs_batch


def code_of(region: str, name: str) -> bytes:
    """A function's archive, which moto gives nobody."""
    from moto.awslambda.models import lambda_backends

    return lambda_backends[ACCOUNT][region].get_function(name).code_bytes


SERVICE = Service("lambda", _ROWS, patch=_patch)
