"""Reads what needs attention. It requests only attributes that may be shown and changes nothing."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from boto3.dynamodb.types import TypeDeserializer

from ages import OldestMessages
from deployment import Deployment
from work import (
    QUEUES,
    SHARDS,
    STEPS,
    DeadLetter,
    DeadLetterQueue,
    Mail,
    Queue,
    Redrive,
    Survey,
    order_ids,
    read_dead_letter,
    read_mail,
    read_order,
)

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import KeysAndAttributesOutputTypeDef, KeysAndAttributesTypeDef
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.literals import QueueAttributeNameType
    from mypy_boto3_sqs.type_defs import ChangeMessageVisibilityBatchRequestEntryTypeDef

T = TypeVar("T")

# Limits that keep the answer fast: orders or mails of one index partition, letters of one queue.
ORDERS = 5000
LETTERS = 100

DAY = 24 * 3600 * 1000
BATCH_GET_KEYS = 100
RECEIVE = 10
# How long letters stay hidden if this process crashes while it reads them.
PEEK_SECONDS = 30

ORDER_FIELDS = (
    "orderId, #status, dueStep, dueAt, dueTries, payment.#state, payment.#reference, payment.waitReason, refunds"
    ", shippingRefusal.#code"
)
ORDER_NAMES = {"#status": "status", "#state": "state", "#reference": "reference", "#code": "code"}
MAIL_FIELDS = "emailId, #state, feedback, feedbackAt, claimedAt, settledAt, resentAt, keptAt, seenAt, dueTries"
MAIL_NAMES = {"#state": "state"}


def take_survey(deployment: Deployment, now: int, mail_days: int | None = None, oldest: OldestMessages | None = None) -> Survey:
    """Everything that needs attention at `now` (milliseconds), with what waits in the queues.

    With `mail_days`, the whole mail ledger is scanned for what was parked in that many days: an unconfirmed mail of a
    finished order is in no index. Otherwise only promised mails and the mails of waiting orders are read.
    """
    dynamodb = deployment.client("dynamodb")
    sqs = deployment.client("sqs")
    orders_table, emails_table = deployment.output("OrdersTableName"), deployment.output("EmailsTableName")
    counts_and_letters = [(queue, *peek(sqs, deployment.dead_letters(queue))) for queue in QUEUES]
    all_letters = [letter for _, _, letters in counts_and_letters for letter in letters]

    waiting, complete = waiting_orders(dynamodb, orders_table)
    items = batch_get(dynamodb, orders_table, "orderId", waiting | order_ids(all_letters), ORDER_FIELDS, ORDER_NAMES)
    orders = {order.id: order for order in map(read_order, items)}

    wanted = {mail for order in waiting & orders.keys() for mail in orders[order].mail_ids}
    promised, all_promised = promised_mails(dynamodb, emails_table)
    wanted |= promised
    wanted |= {letter.mail for queue, _, letters in counts_and_letters if queue == "email" for letter in letters if letter.mail}
    rows = batch_get(dynamodb, emails_table, "emailId", wanted, MAIL_FIELDS, MAIL_NAMES)
    mails = {mail.id: mail for mail in map(read_mail, rows)}
    if mail_days is not None:
        mails |= {mail.id: mail for mail in parked_lately(deployment, now, mail_days)}

    return Survey(
        where=deployment.where,
        now=now,
        # The index lags behind; the order itself records whether it still waits.
        orders=tuple(order for order in orders.values() if order.due),
        complete=complete and all_promised,
        mails=tuple(mails.values()),
        mail_days=mail_days,
        queues=tuple(waiting_messages(deployment, sqs, oldest or OldestMessages(deployment), now)),
        dead=tuple(
            DeadLetterQueue(queue, count, tuple((letter, letter.redrive(queue, orders, mails)) for letter in letters))
            for queue, count, letters in counts_and_letters
        ),
        relay_failures=depth(sqs, deployment.output("RelayFailuresUrl")),
    )


def judge(deployment: Deployment, queue: str, letters: Sequence[DeadLetter]) -> dict[str, Redrive]:
    """The effect of redriving each of these letters now, by their IDs."""
    dynamodb = deployment.client("dynamodb")
    table, ids = deployment.output("OrdersTableName"), order_ids(letters)
    orders = {order.id: order for order in map(read_order, batch_get(dynamodb, table, "orderId", ids, ORDER_FIELDS, ORDER_NAMES))}
    mails: dict[str, Mail] = {}
    if queue == "email":
        table, ids = deployment.output("EmailsTableName"), {letter.mail for letter in letters if letter.mail}
        rows = batch_get(dynamodb, table, "emailId", ids, MAIL_FIELDS, MAIL_NAMES)
        mails = {mail.id: mail for mail in map(read_mail, rows)}
    return {letter.message: letter.redrive(queue, orders, mails) for letter in letters}


def waiting_orders(dynamodb: DynamoDBClient, table: str) -> tuple[set[str], bool]:
    """The IDs in the index `due`, whatever their time: the next check of an overdue order is later than now.

    At most the oldest `ORDERS` of each partition, and whether these are all.
    """
    return _due(dynamodb, table, "dueStep", [f"{step}#{shard}" for step in STEPS for shard in range(SHARDS)], "orderId")


def promised_mails(dynamodb: DynamoDBClient, table: str) -> tuple[set[str], bool]:
    """The IDs of promised mails that have not ended, and whether these are all."""
    return _due(dynamodb, table, "dueShard", [str(shard) for shard in range(SHARDS)], "emailId")


def _due(dynamodb: DynamoDBClient, table: str, attribute: str, partitions: Sequence[str], key: str) -> tuple[set[str], bool]:
    found: set[str] = set()
    complete = True
    pages = dynamodb.get_paginator("query")
    for partition in partitions:
        answers = pages.paginate(
            TableName=table,
            IndexName="due",
            KeyConditionExpression=f"{attribute} = :partition",
            ExpressionAttributeValues={":partition": {"S": partition}},
        )
        ids = list(islice((item[key]["S"] for page in answers for item in page["Items"]), ORDERS + 1))
        complete &= len(ids) <= ORDERS
        found.update(ids[:ORDERS])
    return found, complete


def batch_get(
    dynamodb: DynamoDBClient, table: str, key: str, ids: Iterable[str], fields: str, names: dict[str, str]
) -> Iterator[dict[str, Any]]:
    """The existing items with these IDs, read consistently."""
    for some in chunks(sorted(ids), BATCH_GET_KEYS):
        request: KeysAndAttributesTypeDef = {
            "Keys": [{key: {"S": each}} for each in some],
            "ConsistentRead": True,
            "ProjectionExpression": fields,
            "ExpressionAttributeNames": names,
        }
        left: Mapping[str, KeysAndAttributesTypeDef | KeysAndAttributesOutputTypeDef] = {table: request}
        while left:
            answer = dynamodb.batch_get_item(RequestItems=left)
            yield from map(plain, answer["Responses"].get(table, []))
            if left := answer.get("UnprocessedKeys", {}):
                # DynamoDB returned fewer than requested; an immediate retry would not return more.
                time.sleep(0.2)


def parked_lately(deployment: Deployment, now: int, days: int) -> list[Mail]:
    """The mails that were parked in that many days and are still listed. Scans the whole mail ledger."""
    since = now - days * DAY
    found = parked_mails(deployment.client("dynamodb"), deployment.output("EmailsTableName"), since)
    return [mail for mail in found if mail.is_parked(now)]


def parked_mails(dynamodb: DynamoDBClient, table: str, since: int) -> Iterator[Mail]:
    """The mails since `since` that ended unsent, or were claimed but not settled.

    Scans the whole table page by page, which the functions' roles do not allow but an operator's credentials do.
    """
    answers = dynamodb.get_paginator("scan").paginate(
        TableName=table,
        ProjectionExpression=MAIL_FIELDS,
        FilterExpression=(
            "(claimedAt >= :since AND #state IN (:sending, :unconfirmed, :rejected))"
            " OR (settledAt >= :since AND #state = :failed)"
            " OR (settledAt >= :since AND #state = :suppressed) OR (feedbackAt >= :since AND attribute_exists(#state))"
        ),
        ExpressionAttributeNames=MAIL_NAMES,
        ExpressionAttributeValues={
            ":since": {"N": str(since)},
            ":sending": {"S": "sending"},
            ":unconfirmed": {"S": "unconfirmed"},
            ":rejected": {"S": "rejected"},
            ":failed": {"S": "failed"},
            ":suppressed": {"S": "suppressed"},
        },
    )
    return (read_mail(plain(item)) for page in answers for item in page["Items"])


def chunks(values: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """The values in groups of at most `size`, AWS's limit per call."""
    return (values[start : start + size] for start in range(0, len(values), size))


def plain(item: dict[str, Any]) -> dict[str, Any]:
    """An item without DynamoDB's type tags."""
    read = TypeDeserializer().deserialize
    return {name: read(value) for name, value in item.items()}


def depth(sqs: SQSClient, url: str) -> int:
    """The approximate number of messages in a queue, including hidden ones."""
    names: list[QueueAttributeNameType] = [
        "ApproximateNumberOfMessages",
        "ApproximateNumberOfMessagesNotVisible",
        "ApproximateNumberOfMessagesDelayed",
    ]
    attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
    return sum(int(attributes[name]) for name in names)


def waiting_messages(deployment: Deployment, sqs: SQSClient, oldest: OldestMessages, now: int) -> Iterator[Queue]:
    """Each queue with its depth and the age of its oldest message."""
    ages = oldest.ages(now)
    for queue in QUEUES:
        count = depth(sqs, deployment.queue(queue))
        # The metric lags behind: what it says of a queue that is empty by now is over.
        yield Queue(queue, count, ages[queue] if count else None)


def peek(sqs: SQSClient, url: str) -> tuple[int, list[DeadLetter]]:
    """The number of letters in a dead-letter queue, and the first of them, at most `LETTERS`.

    Reading a letter means receiving it, which hides it. Each is received once, and all become visible again at
    the end, or after `PEEK_SECONDS` if this process crashes. None is deleted, and a dead-letter queue drops none,
    however often they are received.
    """
    count = depth(sqs, url)
    found: dict[str, DeadLetter] = {}
    receipts: list[str] = []
    try:
        while len(found) < min(count, LETTERS):
            # Without a wait, SQS queries only some of its servers.
            messages = sqs.receive_message(
                QueueUrl=url,
                MaxNumberOfMessages=RECEIVE,
                VisibilityTimeout=PEEK_SECONDS,
                WaitTimeSeconds=1,
                MessageSystemAttributeNames=["SentTimestamp"],
            ).get("Messages", [])
            receipts += [message["ReceiptHandle"] for message in messages]
            new = [message for message in messages if message["MessageId"] not in found]
            if not new:
                break
            for message in new:
                number = message["MessageId"]
                found[number] = read_dead_letter(number, int(message["Attributes"]["SentTimestamp"]), message["Body"])
    finally:
        for some in chunks(receipts, RECEIVE):
            entries: list[ChangeMessageVisibilityBatchRequestEntryTypeDef] = [
                {"Id": str(n), "ReceiptHandle": receipt, "VisibilityTimeout": 0} for n, receipt in enumerate(some)
            ]
            sqs.change_message_visibility_batch(QueueUrl=url, Entries=entries)
    letters = sorted(found.values(), key=lambda letter: (letter.sent, letter.message))
    return max(count, len(letters)), letters
