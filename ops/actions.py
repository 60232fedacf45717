"""The operator's actions. Each can be repeated: an order's status decides, and messages are only hints."""

from __future__ import annotations

import json
from enum import Enum
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from deployment import Failure

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_lambda import LambdaClient


class Requeued(Enum):
    """Outcome of a requeue; the value is the operator's text."""

    MARKED = "is now due; the sweep publishes its event within a minute"
    DUE_ALREADY = "is already due; the sweep publishes its event within a minute"
    NOTHING_DUE = "waits for nothing"
    UNKNOWN = "does not exist"


def requeue(dynamodb: DynamoDBClient, table: str, order: str, now: int) -> Requeued:
    """Makes a waiting order due at `now` (milliseconds), in one conditional write.

    It changes only the time of the sweep's next check. `requeuedAt` marks the check as the operator's: it does
    not count as a try. `event` is removed, as in every write that is no transition, so the relay publishes nothing. A
    sweep that is checking the order has its write refused and checks again.
    """
    try:
        dynamodb.update_item(
            TableName=table,
            Key={"orderId": {"S": order}},
            UpdateExpression="SET dueAt = :now, requeuedAt = :now REMOVE #event",
            ConditionExpression="attribute_exists(dueStep) AND dueAt > :now",
            ExpressionAttributeNames={"#event": "event"},
            ExpressionAttributeValues={":now": {"N": str(now)}},
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )
    except ClientError as error:
        if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
            raise
        item = error.response.get("Item")
        if not isinstance(item, dict):
            return Requeued.UNKNOWN
        return Requeued.DUE_ALREADY if "dueStep" in item else Requeued.NOTHING_DUE
    return Requeued.MARKED


def sweep(function: str, client: LambdaClient) -> dict[str, int]:
    """Runs the sweep once; returns its counts `published`, `settled`, `overdue`, `failed`, and `unfinished`.

    Concurrent sweeps are safe.
    """
    answer = client.invoke(FunctionName=function, Payload=b"{}")
    if "FunctionError" in answer:
        raise Failure("The sweep failed. Read its log; it runs again within a minute.")
    counts: dict[str, int] = json.load(answer["Payload"])
    return counts
