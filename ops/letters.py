"""Moves dead letters back to their queue, or drops them.

Each letter is received once and stays hidden until the end; those that are left become visible again then.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from survey import RECEIVE, chunks, depth
from work import DeadLetter, Redrive, read_dead_letter

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import ChangeMessageVisibilityBatchRequestEntryTypeDef, MessageTypeDef

# How long letters stay hidden if this process crashes while it moves them.
MOVE_SECONDS = 60

# How many receives in a row may bring no new letter. A letter that was left becomes visible again after `MOVE_SECONDS`, and
# another reader's soon.
RECEIVES_IN_VAIN = 5

# The effects of a redrive of which nothing is lost with the letter.
DROPPABLE = (Redrive.NOTHING, Redrive.TOO_EARLY, Redrive.UNKNOWN_ORDER, Redrive.UNREADABLE)

MESSAGE_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")

# The effect of a redrive on each of some letters.
Judge = Callable[[Sequence[DeadLetter]], Mapping[str, Redrive]]


@dataclass
class Moved:
    """Outcome of a redrive or drop: the letters that were moved or dropped, and those that were left, with the reason.

    `not_received` is the number of the others, because SQS's count includes those that another reader hides.
    """

    done: list[tuple[DeadLetter, Redrive]] = field(default_factory=list)
    left: list[tuple[DeadLetter, Redrive]] = field(default_factory=list)
    not_received: int = 0


def redrive(sqs: SQSClient, dead: str, queue: str, judge: Judge) -> Moved:
    """Moves the letters that can succeed back to their queue.

    Each is sent before it is deleted, so a crash in between leaves it in both queues, which is harmless, never in none.
    It considers at most as many as there were at the start: a letter that fails again would be moved forever.
    """
    moved = Moved()
    with _Received(sqs, dead) as received:
        for page in received.pages():
            effects = judge([letter for letter, _ in page])
            # One by one: ten can exceed a call's size limit.
            for letter, message in page:
                effect = effects[letter.message]
                if effect is not Redrive.TRY_AGAIN:
                    moved.left.append((letter, effect))
                    continue
                attributes = message.get("MessageAttributes", {})
                sqs.send_message(QueueUrl=queue, MessageBody=message["Body"], MessageAttributes=attributes)
                received.delete(message)
                moved.done.append((letter, effect))
        moved.not_received = received.missing
    return moved


def drop(sqs: SQSClient, dead: str, what: str, judge: Judge, *, sure: bool) -> Moved:
    """Deletes the letter with the ID `what`, or all whose effect is `what`.

    One that would still do something is deleted only if the operator is `sure`, and only by its ID.
    """
    dropped = Moved()
    with _Received(sqs, dead) as received:
        for page in received.pages():
            effects = judge([letter for letter, _ in page])
            for letter, message in page:
                effect = effects[letter.message]
                if what not in (letter.message, effect):
                    continue
                if effect in DROPPABLE or (sure and what == letter.message):
                    received.delete(message)
                    dropped.done.append((letter, effect))
                else:
                    dropped.left.append((letter, effect))
                if what == letter.message:
                    return dropped
        dropped.not_received = received.missing
    return dropped


class _Received:
    """The letters of a dead-letter queue, each received once. On exit, those that are left become visible again."""

    def __init__(self, sqs: SQSClient, dead: str) -> None:
        self._sqs = sqs
        self._dead = dead
        self._hidden: dict[str, str] = {}
        # How many letters the queue had at the start that were not received yet.
        self.missing = 0

    def __enter__(self) -> _Received:
        return self

    def __exit__(self, *_: object) -> None:
        for some in chunks(list(self._hidden.values()), RECEIVE):
            entries: list[ChangeMessageVisibilityBatchRequestEntryTypeDef] = [
                {"Id": str(n), "ReceiptHandle": receipt, "VisibilityTimeout": 0} for n, receipt in enumerate(some)
            ]
            self._sqs.change_message_visibility_batch(QueueUrl=self._dead, Entries=entries)

    def delete(self, message: MessageTypeDef) -> None:
        self._sqs.delete_message(QueueUrl=self._dead, ReceiptHandle=message["ReceiptHandle"])
        self._hidden.pop(message["MessageId"], None)

    def pages(self) -> Iterator[list[tuple[DeadLetter, MessageTypeDef]]]:
        self.missing = depth(self._sqs, self._dead)
        known: set[str] = set()
        in_vain = 0
        while self.missing > 0 and in_vain < RECEIVES_IN_VAIN:
            messages = self._receive()
            new = [message for message in messages if message["MessageId"] not in known]
            if not new:
                in_vain += 1
                continue
            in_vain = 0
            known.update(message["MessageId"] for message in new)
            self.missing -= len(new)
            yield [
                (read_dead_letter(each["MessageId"], int(each["Attributes"]["SentTimestamp"]), each["Body"]), each)
                for each in new
            ]

    def _receive(self) -> list[MessageTypeDef]:
        # Without a wait, SQS queries only some of its servers.
        messages = self._sqs.receive_message(
            QueueUrl=self._dead,
            MaxNumberOfMessages=min(RECEIVE, self.missing),
            VisibilityTimeout=MOVE_SECONDS,
            WaitTimeSeconds=1,
            MessageAttributeNames=["All"],
            MessageSystemAttributeNames=["SentTimestamp"],
        ).get("Messages", [])
        self._hidden |= {message["MessageId"]: message["ReceiptHandle"] for message in messages}
        return messages
