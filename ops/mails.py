"""The operator's actions on mails of the ledger."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from survey import plain
from work import CLAIM_STALE_AFTER, OWN_MAIL_ID, partition, read_mail

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_dynamodb.type_defs import AttributeValueTypeDef, TransactWriteItemTypeDef

FIELDS = "emailId, #state, feedback, bounceType, feedbackAt, claimedAt, settledAt, resentAt, keptAt, seenAt, dueTries"
# What the functions' states leave behind, and a resend starts without.
ENDED = "settledAt, holder, messageId, feedback, feedbackAt, bounceType, seenAt"

# The service has ended these, so another request to send them changes something.
UNSENT = ("unconfirmed", "failed", "rejected")
# What a mail can be marked as seen in.
PARKED = (*UNSENT, "sending", "suppressed", "bounced", "complained")


@dataclass(frozen=True)
class Ledgers:
    """The client and the names of the tables."""

    dynamodb: DynamoDBClient
    orders: str
    emails: str

    def row(self, mail: str) -> dict[str, Any] | None:
        """The ledger's row of a mail, without its message."""
        answer = self.dynamodb.get_item(
            TableName=self.emails,
            Key={"emailId": {"S": mail}},
            ConsistentRead=True,
            ProjectionExpression=FIELDS,
            ExpressionAttributeNames={"#state": "state"},
        )
        return plain(answer["Item"]) if "Item" in answer else None


class Resent(Enum):
    """Outcome of a resend; the value is the operator's text."""

    QUEUED = "is queued; the sweep publishes it within a minute, and it is sent once"
    QUEUED_ALREADY = "is queued already; nothing was changed"
    SENDING = "is being sent right now; look again in seven minutes"
    SENT = "was accepted by SES. To send another copy, add SURE=yes"
    SUPPRESSED = "is not sent again: its address bounced or reported a mail as spam"
    NO_ADDRESS = "cannot be sent: the order has no address of its own. Request it with POST email.json"
    UNKNOWN = "does not exist, or was never tried; REQUEUE its order instead"
    CHANGED = "changed at the same moment; run this again"

    @property
    def is_done(self) -> bool:
        """Whether the mail is on its way."""
        return self in (Resent.QUEUED, Resent.QUEUED_ALREADY)


def resend(tables: Ledgers, mail: str, now: int, *, sure: bool) -> Resent:
    """Has the sweep send an order's own mail again; `mail` is `ord_…/Event`.

    One transaction: the ledger's row becomes `queued`, only if it still is as it was read, and its order becomes due.
    The email function then claims the row as for the first mail, so that running this twice sends one mail.
    """
    row = tables.row(mail)
    refused = _refusal(row, now, sure=sure)
    if refused or row is None:
        return refused or Resent.UNKNOWN
    mailed = OWN_MAIL_ID.fullmatch(mail)
    order = mailed["order"] if mailed else mail
    for is_due in (True, False):
        try:
            tables.dynamodb.transact_write_items(
                TransactItems=[_queued(tables, row, now), _due(tables, order, now, is_due=is_due)]
            )
        except ClientError as error:
            if error.response["Error"]["Code"] != "TransactionCanceledException":
                raise
            reasons: list[dict[str, str]] = error.response.get("CancellationReasons", [])  # type: ignore[assignment]
            if [reason.get("Code") for reason in reasons] != ["None", "ConditionalCheckFailed"]:
                return Resent.CHANGED
        else:
            return Resent.QUEUED
    # The order is neither due nor finished with an address.
    return Resent.NO_ADDRESS


def _refusal(row: dict[str, Any] | None, now: int, *, sure: bool) -> Resent | None:
    if row is None:
        return Resent.UNKNOWN
    mail = read_mail(row)
    if mail.state == "queued":
        return Resent.QUEUED_ALREADY
    if mail.state == "sending":
        return None if mail.since <= now - CLAIM_STALE_AFTER else Resent.SENDING
    if mail.state == "sent" or (mail.state == "bounced" and row.get("bounceType") == "transient"):
        return None if sure else Resent.SENT
    return None if mail.state in UNSENT else Resent.SUPPRESSED


def _as_read(row: dict[str, Any]) -> tuple[str, dict[str, AttributeValueTypeDef]]:
    """The condition that a row has not changed since it was read."""
    same = ["#state = :state"]
    values: dict[str, AttributeValueTypeDef] = {":state": {"S": row["state"]}}
    for name in ("claimedAt", "settledAt", "feedbackAt"):
        if name in row:
            same.append(f"{name} = :{name}")
            values[f":{name}"] = {"N": str(row[name])}
        else:
            same.append(f"attribute_not_exists({name})")
    return " AND ".join(same), values


def _queued(tables: Ledgers, row: dict[str, Any], now: int) -> TransactWriteItemTypeDef:
    condition, values = _as_read(row)
    return {
        "Update": {
            "TableName": tables.emails,
            "Key": {"emailId": {"S": row["emailId"]}},
            "UpdateExpression": f"SET #state = :queued, resentAt = :now REMOVE {ENDED} ADD resends :one",
            "ConditionExpression": condition,
            "ExpressionAttributeNames": {"#state": "state"},
            "ExpressionAttributeValues": values | {":queued": {"S": "queued"}, ":now": {"N": str(now)}, ":one": {"N": "1"}},
        }
    }


def _due(tables: Ledgers, order: str, now: int, *, is_due: bool) -> TransactWriteItemTypeDef:
    """Makes the sweep check the order at once. A finished order waits for a mail again."""
    update = "SET dueAt = :now, requeuedAt = :now REMOVE #event"
    condition = "attribute_exists(dueStep) AND attribute_exists(#contact.email)"
    values: dict[str, AttributeValueTypeDef] = {":now": {"N": str(now)}}
    if not is_due:
        update = "SET dueStep = :step, dueAt = :now, dueTries = :none, requeuedAt = :now REMOVE #event"
        condition = "attribute_not_exists(dueStep) AND attribute_exists(#contact.email)"
        values |= {":step": {"S": partition("email", order)}, ":none": {"N": "0"}}
    return {
        "Update": {
            "TableName": tables.orders,
            "Key": {"orderId": {"S": order}},
            "UpdateExpression": update,
            "ConditionExpression": condition,
            "ExpressionAttributeNames": {"#event": "event", "#contact": "contact"},
            "ExpressionAttributeValues": values,
        }
    }


class Seen(Enum):
    """Outcome of marking a mail as seen; the value is the operator's text."""

    MARKED = "is marked as seen; it stays in the ledger and is no longer listed"
    MARKED_ALREADY = "was marked as seen before"
    NOT_PARKED = "is not parked: the service still sends it, or has sent it"
    UNKNOWN = "does not exist"
    CHANGED = "changed at the same moment; run this again"

    @property
    def is_done(self) -> bool:
        """Whether it is no longer listed."""
        return self in (Seen.MARKED, Seen.MARKED_ALREADY)


def mark_as_seen(tables: Ledgers, mail: str, now: int) -> Seen:
    """Marks a parked mail as seen, in one conditional write. It is listed again if something new happens to it.

    A claim whose function crashed ends as `unconfirmed`, as the email function would end it.
    """
    row = tables.row(mail)
    if row is None:
        return Seen.UNKNOWN
    read = read_mail(row)
    if read.seen is not None and read.since <= read.seen:
        return Seen.MARKED_ALREADY
    is_sending = read.state == "sending"
    if read.state not in PARKED or (is_sending and read.since > now - CLAIM_STALE_AFTER):
        return Seen.NOT_PARKED
    condition, values = _as_read(row)
    update = "SET seenAt = :now"
    values |= {":now": {"N": str(now)}}
    if is_sending:
        update += ", settledAt = :now, #state = :unconfirmed REMOVE message, keptAt, dueShard, dueAt, dueTries"
        values |= {":unconfirmed": {"S": "unconfirmed"}}
    try:
        tables.dynamodb.update_item(
            TableName=tables.emails,
            Key={"emailId": {"S": mail}},
            UpdateExpression=update,
            ConditionExpression=condition,
            ExpressionAttributeNames={"#state": "state"},
            ExpressionAttributeValues=values,
        )
    except ClientError as error:
        if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
            raise
        return Seen.CHANGED
    return Seen.MARKED
