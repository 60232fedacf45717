"""The operator's two actions. Each may be repeated: what an order is in decides everything, messages are only hints."""

from __future__ import annotations

import json
from enum import Enum
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from deployment import Failure
from survey import RECEIVE, depth

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_sqs import SQSClient

# How long letters stay hidden if this process dies while it moves them.
MOVE_SECONDS = 60


class Requeued(Enum):
    """What became of the wish that the sweep looks at an order at once; the value says it to the operator."""

    MARKED = "is due now; the sweep publishes its event within a minute"
    DUE_ALREADY = "is due already; the sweep publishes its event within a minute"
    NOTHING_DUE = "waits for nothing"
    UNKNOWN = "does not exist"


def requeue(dynamodb: DynamoDBClient, table: str, order: str, now: int) -> Requeued:
    """Makes an order that waits for something due at `now` (ms); one conditional write.

    It moves nothing but the time of the sweep's next look. `requeuedAt` tells the sweep that this look is ours: it does
    not count as a try. `event` goes, as with every write that is no transition: the relay has nothing to tell. A sweep
    that looks at the order right now finds its own write refused, and looks again.
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
    """Runs the sweep once, now; returns its counts `published`, `settled`, `overdue`, `failed` and `unfinished`.

    Two at once do no harm.
    """
    answer = client.invoke(FunctionName=function, Payload=b"{}")
    if "FunctionError" in answer:
        raise Failure("The sweep failed; its log says why. It runs again within a minute.")
    counts: dict[str, int] = json.load(answer["Payload"])
    return counts


def redrive(sqs: SQSClient, dead: str, queue: str) -> int:
    """Moves the letters of a dead-letter queue back to its queue; returns how many.

    Each is sent before it is deleted, so a crash in between leaves it in both, which does no harm, and never in none.
    At most as many as there were at the start: one that fails again comes back, and would be moved for ever.
    """
    left = depth(sqs, dead)
    moved = 0
    while moved < left:
        # A wait, because without one SQS asks only some of its servers.
        letters = sqs.receive_message(
            QueueUrl=dead,
            MaxNumberOfMessages=min(RECEIVE, left - moved),
            VisibilityTimeout=MOVE_SECONDS,
            WaitTimeSeconds=1,
            MessageAttributeNames=["All"],
        ).get("Messages", [])
        if not letters:
            break
        # One by one: ten of them can be larger than what one call takes.
        for letter in letters:
            sqs.send_message(QueueUrl=queue, MessageBody=letter["Body"], MessageAttributes=letter.get("MessageAttributes", {}))
            sqs.delete_message(QueueUrl=dead, ReceiptHandle=letter["ReceiptHandle"])
            moved += 1
    return moved
