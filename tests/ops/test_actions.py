"""That looking at dead letters and moving them loses none, whatever fails in between."""

from __future__ import annotations

import sys
import unittest
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from unittest.mock import Mock, patch

from played_dynamodb import PlayedDynamoDb

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "ops"))

from actions import Requeued, requeue  # noqa: E402  (the path above makes it importable)
from letters import Judge, drop, redrive  # noqa: E402
from mails import Ledgers, Resent, Seen, mark_as_seen, resend  # noqa: E402
from overdue import act, arguments  # noqa: E402
from survey import LETTERS, peek  # noqa: E402
from work import Redrive  # noqa: E402

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

    from work import DeadLetter

NOW = 1_795_428_725_000
MINUTE = 60_000
ORDER = "ord_01JDB4XK00EXAMPVE0RDER0001"
MAIL = f"{ORDER}/OrderShipped"


def judged(effect: Redrive = Redrive.TRY_AGAIN, **others: Redrive) -> Judge:
    """Says `effect` of every letter, but for the named ones."""

    def judge(letters: Sequence[DeadLetter]) -> Mapping[str, Redrive]:
        return {letter.message: others.get(letter.message.replace(" ", "_"), effect) for letter in letters}

    return judge


class Outage(Exception):
    """What the played SQS fails with."""


class PlayedSqs:
    """A dead-letter queue `dead` and its queue `queue`, which fail at the call whose number is `fails_at`."""

    def __init__(self, letters: int, *, fails_at: int = 0, comes_back: bool = False, others: int = 0, again: int = 0) -> None:
        """Another reader hides the first `others` letters; the first ten are received `again` times after the first."""
        self.dead = [f"letter {n}" for n in range(letters)]
        self.hidden: set[str] = set(self.dead[:others])
        self.queue: list[str] = []
        self.calls = 0
        self._fails_at = fails_at
        self._comes_back = comes_back
        self._again = again

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
        if self._again and self.hidden:
            found = [letter for letter in self.dead if letter in self.hidden][:MaxNumberOfMessages]
            self._again -= 1
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
        self.hidden.discard(ReceiptHandle)
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
        dynamodb = PlayedDynamoDb(UpdateItem={})
        self.assertEqual(requeue(dynamodb.client, "Orders", "ord_1", 5), Requeued.MARKED)
        [write] = dynamodb.sent("UpdateItem")
        played = (ROOT / "tests/suite/chain.rs").read_text()
        for expression in ("UpdateExpression", "ConditionExpression"):
            self.assertIn(f'"{write[expression]}"', played)


class TestRedrive(unittest.TestCase):
    def test_all_letters_that_can_succeed_move_and_a_second_time_none(self) -> None:
        sqs = PlayedSqs(25)
        moved = [redrive(sqs.client, "dead", "queue", judged()) for _ in range(2)]
        self.assertEqual([len(each.done) for each in moved], [25, 0])
        self.assertEqual((len(sqs.queue), sqs.dead), (25, []))

    def test_what_would_return_or_do_nothing_is_left_with_its_reason_and_can_be_received_afterwards(self) -> None:
        sqs = PlayedSqs(12)
        left = {"letter_3": Redrive.UNREADABLE, "letter_7": Redrive.NOTHING, "letter_11": Redrive.TOO_EARLY}
        moved = redrive(sqs.client, "dead", "queue", judged(**left))
        self.assertEqual(
            [(letter.message, why) for letter, why in moved.left], [(k.replace("_", " "), v) for k, v in left.items()]
        )
        self.assertEqual((len(moved.done), len(sqs.queue), sqs.hidden), (9, 9, set()))
        self.assertEqual(sqs.dead, ["letter 3", "letter 7", "letter 11"])

    def test_no_letter_is_lost_or_hidden_whichever_call_fails(self) -> None:
        whole = PlayedSqs(12)
        redrive(whole.client, "dead", "queue", judged())
        for number in range(1, whole.calls + 1):
            sqs = PlayedSqs(12, fails_at=number)
            everything = set(sqs.dead)
            with self.assertRaises(Outage):
                redrive(sqs.client, "dead", "queue", judged())
            self.assertEqual(set(sqs.dead) | set(sqs.queue), everything, f"call {number}")
            self.assertEqual(sqs.hidden & set(sqs.dead), set(), f"call {number}")

    def test_letters_that_come_back_are_not_moved_for_ever(self) -> None:
        self.assertEqual(len(redrive(PlayedSqs(3, comes_back=True).client, "dead", "queue", judged()).done), 3)

    def test_letters_that_another_reader_hides_are_counted(self) -> None:
        for letters, others in ((3, 3), (25, 4)):
            sqs = PlayedSqs(letters, others=others)
            moved = redrive(sqs.client, "dead", "queue", judged())
            self.assertEqual((len(moved.done), moved.not_received, len(sqs.dead)), (letters - others, others, others))
        self.assertEqual(redrive(PlayedSqs(12).client, "dead", "queue", judged()).not_received, 0)

    def test_letters_that_are_received_once_more_do_not_end_it(self) -> None:
        # They are left, so they become visible again while the others are still moved.
        left = {f"letter_{n}": Redrive.NOTHING for n in range(10)}
        moved = redrive(PlayedSqs(25, again=3).client, "dead", "queue", judged(**left))
        self.assertEqual((len(moved.done), len(moved.left), moved.not_received), (15, 10, 0))
        moved = redrive(PlayedSqs(25, again=1000).client, "dead", "queue", judged(**left))
        self.assertEqual((len(moved.done), len(moved.left), moved.not_received), (0, 10, 15))


class TestDrop(unittest.TestCase):
    def test_one_letter_goes_and_the_others_stay_as_they_were(self) -> None:
        sqs = PlayedSqs(25)
        dropped = drop(sqs.client, "dead", "letter 17", judged(Redrive.NOTHING), sure=False)
        self.assertEqual([letter.message for letter, _ in dropped.done], ["letter 17"])
        self.assertEqual((len(sqs.dead), "letter 17" in sqs.dead, sqs.hidden), (24, False, set()))

    def test_one_that_a_redrive_brings_on_goes_only_by_its_id_and_if_the_operator_is_sure(self) -> None:
        for what, sure, gone in (("letter 1", False, 0), ("try_again", True, 0), ("letter 1", True, 1)):
            sqs = PlayedSqs(3)
            dropped = drop(sqs.client, "dead", what, judged(), sure=sure)
            self.assertEqual((len(dropped.done), len(sqs.dead), sqs.hidden), (gone, 3 - gone, set()), (what, sure))

    def test_all_of_which_a_redrive_does_nothing_go_together(self) -> None:
        sqs = PlayedSqs(12)
        dropped = drop(sqs.client, "dead", "nothing", judged(Redrive.NOTHING, letter_4=Redrive.TRY_AGAIN), sure=False)
        self.assertEqual((len(dropped.done), sqs.dead, sqs.hidden), (11, ["letter 4"], set()))

    def test_what_is_not_there_changes_nothing(self) -> None:
        sqs = PlayedSqs(3)
        dropped = drop(sqs.client, "dead", "letter 9", judged(Redrive.NOTHING), sure=True)
        self.assertEqual((dropped.done, dropped.left, len(sqs.dead), sqs.hidden), ([], [], 3, set()))

    def test_letters_that_another_reader_hides_are_counted_unless_the_one_was_found(self) -> None:
        for what, done, not_received in (("nothing", 3, 2), ("letter 0", 0, 2), ("letter 2", 1, 0)):
            dropped = drop(PlayedSqs(5, others=2).client, "dead", what, judged(Redrive.NOTHING), sure=False)
            self.assertEqual((len(dropped.done), dropped.not_received), (done, not_received), what)


class TestAnswer(unittest.TestCase):
    def test_letters_that_were_not_received_are_told_and_no_success(self) -> None:
        for option, what in (("--redrive", "payment"), ("--drop", "payment/nothing")):
            for others, code in ((2, 1), (0, 0)):
                deployment = Mock()
                deployment.client.return_value = PlayedSqs(5, others=others)
                with patch("overdue.judge", lambda _deployment, _queue, letters: judged(Redrive.NOTHING)(letters)):
                    answer = act(arguments([option, what]), deployment)
                self.assertEqual((answer.code, answer.fields["notReceived"]), (code, others))
                self.assertEqual("Not received: 2." in " ".join(answer.sentences), others == 2)
                self.assertTrue(others == 0 or "Repeat" in answer.sentences[-1])


def ledgers(row: dict[str, Any] | None, *refusals: Sequence[str]) -> tuple[Ledgers, PlayedDynamoDb]:
    """The tables with this row, whose transactions are cancelled for these reasons, one after the other."""
    item = row and {name: {"N": str(value)} if isinstance(value, int) else {"S": value} for name, value in row.items()}
    cancelled = [
        {"Error": {"Code": "TransactionCanceledException"}, "CancellationReasons": [{"Code": each} for each in why]}
        for why in refusals
    ]
    dynamodb = PlayedDynamoDb(GetItem={"Item": item} if item else {}, TransactWriteItems=[*cancelled, {}], UpdateItem={})
    return Ledgers(dynamodb.client, "Orders", "Emails"), dynamodb


def a_row(state: str, **fields: Any) -> dict[str, Any]:
    return {"emailId": MAIL, "state": state, "claimedAt": NOW - 10 * MINUTE, "settledAt": NOW - 9 * MINUTE} | fields


class TestResend(unittest.TestCase):
    def test_only_a_mail_that_the_service_has_given_up_is_sent_again_unless_the_operator_is_sure(self) -> None:
        for row, sure, outcome in (
            (a_row("unconfirmed"), False, Resent.QUEUED),
            (a_row("failed"), False, Resent.QUEUED),
            (a_row("rejected"), False, Resent.QUEUED),
            (a_row("sending"), False, Resent.QUEUED),
            (a_row("sending", claimedAt=NOW - MINUTE, settledAt=NOW - MINUTE), True, Resent.SENDING),
            (a_row("queued"), True, Resent.QUEUED_ALREADY),
            (a_row("sent"), False, Resent.SENT),
            (a_row("sent"), True, Resent.QUEUED),
            (a_row("sent", feedback="bounced", bounceType="transient", feedbackAt=NOW), False, Resent.SENT),
            (a_row("sent", feedback="bounced", bounceType="permanent", feedbackAt=NOW), True, Resent.SUPPRESSED),
            (a_row("unconfirmed", feedback="complained", feedbackAt=NOW), True, Resent.SUPPRESSED),
            (a_row("suppressed"), True, Resent.SUPPRESSED),
            (None, True, Resent.UNKNOWN),
        ):
            with self.subTest(row=row, sure=sure):
                tables, dynamodb = ledgers(row)
                self.assertEqual(resend(tables, MAIL, NOW, sure=sure), outcome)
                self.assertEqual(len(dynamodb.sent("TransactWriteItems")), outcome is Resent.QUEUED)

    def test_it_writes_what_the_functions_own_test_writes(self) -> None:
        played = (ROOT / "tests/suite/resend.rs").read_text()
        tables, dynamodb = ledgers(a_row("unconfirmed"), ("None", "ConditionalCheckFailed"))
        self.assertEqual(resend(tables, MAIL, NOW, sure=False), Resent.QUEUED)
        for request in dynamodb.sent("TransactWriteItems"):
            for item in request["TransactItems"]:
                self.assertIn(f'"{item["Update"]["UpdateExpression"]}"', played)
                for condition in item["Update"]["ConditionExpression"].split(" AND "):
                    self.assertIn(condition, played)

    def test_a_row_that_changed_since_it_was_read_is_left_alone(self) -> None:
        for why in (("ConditionalCheckFailed", "None"), ("TransactionConflict", "None"), ("ConditionalCheckFailed",) * 2, ()):
            tables, _ = ledgers(a_row("unconfirmed"), why)
            self.assertEqual(resend(tables, MAIL, NOW, sure=False), Resent.CHANGED)
        tables, _ = ledgers(a_row("unconfirmed"), *[("None", "ConditionalCheckFailed")] * 2)
        self.assertEqual(resend(tables, MAIL, NOW, sure=False), Resent.NO_ADDRESS)


class TestSeen(unittest.TestCase):
    def test_what_is_parked_is_marked_once_and_nothing_else(self) -> None:
        for row, outcome in (
            (a_row("unconfirmed"), Seen.MARKED),
            (a_row("failed"), Seen.MARKED),
            (a_row("sent", feedback="bounced", feedbackAt=NOW), Seen.MARKED),
            (a_row("unconfirmed", seenAt=NOW), Seen.MARKED_ALREADY),
            # Something new happened to it.
            (a_row("failed", seenAt=NOW - 20 * MINUTE), Seen.MARKED),
            (a_row("sent"), Seen.NOT_PARKED),
            (a_row("queued"), Seen.NOT_PARKED),
            ({"emailId": MAIL, "state": "sending", "claimedAt": NOW - MINUTE}, Seen.NOT_PARKED),
            ({"emailId": MAIL, "state": "sending", "claimedAt": NOW - 8 * MINUTE}, Seen.MARKED),
            (None, Seen.UNKNOWN),
        ):
            with self.subTest(row=row):
                tables, dynamodb = ledgers(row)
                self.assertEqual(mark_as_seen(tables, MAIL, NOW), outcome)
                self.assertEqual(len(dynamodb.sent("UpdateItem")), outcome is Seen.MARKED)


if __name__ == "__main__":
    unittest.main()
