"""That looking at dead letters and moving them loses none, whatever fails in between."""

from __future__ import annotations

import sys
import unittest
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from unittest.mock import Mock

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "ops"))

from actions import Requeued, redrive, requeue  # noqa: E402  (the path above makes it importable)
from survey import LETTERS, peek  # noqa: E402

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient


class Outage(Exception):
    """What the played SQS fails with."""


class PlayedSqs:
    """A dead-letter queue `dead` and its queue `queue`, which fail at the call whose number is `fails_at`."""

    def __init__(self, letters: int, *, fails_at: int = 0, comes_back: bool = False) -> None:
        self.dead = [f"letter {n}" for n in range(letters)]
        self.hidden: set[str] = set()
        self.queue: list[str] = []
        self.calls = 0
        self._fails_at = fails_at
        self._comes_back = comes_back

    @property
    def client(self) -> SQSClient:
        """Itself, as much of a client as is called."""
        return cast("SQSClient", self)

    def _call(self) -> None:
        self.calls += 1
        if self.calls == self._fails_at:
            raise Outage

    def get_queue_attributes(self, AttributeNames: list[str], **_: Any) -> dict[str, Any]:
        self._call()
        return {"Attributes": dict.fromkeys(AttributeNames, "0") | {"ApproximateNumberOfMessages": str(len(self.dead))}}

    def receive_message(self, MaxNumberOfMessages: int, **_: Any) -> dict[str, Any]:
        self._call()
        found = [letter for letter in self.dead if letter not in self.hidden][:MaxNumberOfMessages]
        self.hidden.update(found)
        sent = {"SentTimestamp": "1"}
        messages = [{"MessageId": each, "ReceiptHandle": each, "Body": each, "Attributes": sent} for each in found]
        return {"Messages": messages} if messages else {}

    def change_message_visibility_batch(self, Entries: list[dict[str, Any]], **_: Any) -> dict[str, Any]:
        self.hidden -= {entry["ReceiptHandle"] for entry in Entries if entry["VisibilityTimeout"] == 0}
        return {}

    def send_message(self, MessageBody: str, **_: Any) -> dict[str, Any]:
        self._call()
        self.queue.append(MessageBody)
        if self._comes_back:
            self.dead.append(f"{MessageBody} again")
        return {}

    def delete_message(self, ReceiptHandle: str, **_: Any) -> dict[str, Any]:
        self._call()
        self.dead.remove(ReceiptHandle)
        return {}


class TestPeek(unittest.TestCase):
    def test_every_letter_is_seen_once_and_can_be_received_afterwards(self) -> None:
        sqs = PlayedSqs(25)
        count, letters = peek(sqs.client, "dead")
        self.assertEqual((count, len({letter.message for letter in letters})), (25, 25))
        self.assertEqual((len(sqs.dead), sqs.hidden), (25, set()))

    def test_a_large_queue_is_counted_and_seen_in_part(self) -> None:
        count, letters = peek(PlayedSqs(LETTERS + 50).client, "dead")
        self.assertEqual((count, len(letters)), (LETTERS + 50, LETTERS))

    def test_a_failure_in_between_hides_nothing(self) -> None:
        sqs = PlayedSqs(25, fails_at=3)
        with self.assertRaises(Outage):
            peek(sqs.client, "dead")
        self.assertEqual((len(sqs.dead), sqs.hidden), (25, set()))


class TestRequeue(unittest.TestCase):
    def test_it_writes_what_the_sweeps_own_test_writes(self) -> None:
        dynamodb = Mock()
        self.assertEqual(requeue(dynamodb, "Orders", "ord_1", 5), Requeued.MARKED)
        [write] = dynamodb.update_item.call_args_list
        played = (ROOT / "tests/suite/chain.rs").read_text()
        for expression in ("UpdateExpression", "ConditionExpression"):
            self.assertIn(f'"{write.kwargs[expression]}"', played)


class TestRedrive(unittest.TestCase):
    def test_all_letters_move_and_a_second_time_none(self) -> None:
        sqs = PlayedSqs(25)
        self.assertEqual((redrive(sqs.client, "dead", "queue"), redrive(sqs.client, "dead", "queue")), (25, 0))
        self.assertEqual((len(sqs.queue), sqs.dead), (25, []))

    def test_no_letter_is_lost_whichever_call_fails(self) -> None:
        whole = PlayedSqs(12)
        redrive(whole.client, "dead", "queue")
        for number in range(1, whole.calls + 1):
            sqs = PlayedSqs(12, fails_at=number)
            everything = set(sqs.dead)
            with self.assertRaises(Outage):
                redrive(sqs.client, "dead", "queue")
            self.assertEqual(set(sqs.dead) | set(sqs.queue), everything, f"call {number}")

    def test_letters_that_come_back_are_not_moved_for_ever(self) -> None:
        self.assertEqual(redrive(PlayedSqs(3, comes_back=True).client, "dead", "queue"), 3)


if __name__ == "__main__":
    unittest.main()
