"""What a survey reads of the tables: which mails it looks for, and when it reads the whole ledger."""

from __future__ import annotations

import sys
import unittest
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from played_dynamodb import PlayedDynamoDb

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "ops"))

from survey import parked_lately, take_survey  # noqa: E402  (the path above makes it importable)
from work import QUEUES, Age, read_order  # noqa: E402

if TYPE_CHECKING:
    from ages import OldestMessages
    from deployment import Deployment

NOW = 1_795_428_725_000
DAY = 24 * 3600 * 1000
ORDER = "ord_01JDB4XK00EXAMPVE0RDER0001"
REFUND = "rfd_2N5C7H0V3Q9WXK4E8RTYD61ZAB"
MAIL = f"{ORDER}/PaymentRefunded/{REFUND}"


class PlayedSqs:
    """Queues that are empty."""

    def get_queue_attributes(self, AttributeNames: list[str], **_: Any) -> dict[str, Any]:
        return {"Attributes": dict.fromkeys(AttributeNames, "0")}


def deployment(dynamodb: PlayedDynamoDb) -> Deployment:
    clients = {"dynamodb": dynamodb.client, "sqs": PlayedSqs()}
    played = SimpleNamespace(where="orderflow", client=clients.get, output=str, queue=str, dead_letters=str)
    return cast("Deployment", played)


def surveyed(dynamodb: PlayedDynamoDb) -> list[str]:
    """The parked mails that a survey lists."""
    oldest = cast("OldestMessages", SimpleNamespace(ages=lambda _: dict.fromkeys(QUEUES, Age(None, "not played"))))
    return [mail.id for mail in take_survey(deployment(dynamodb), NOW, oldest=oldest).parked_mails]


def an_order(**refunds: dict[str, Any]) -> dict[str, Any]:
    return {
        "orderId": {"S": ORDER},
        "status": {"S": "shipped"},
        "dueStep": {"S": "email#1"},
        "dueAt": {"N": str(NOW)},
        "refunds": {"M": {name: {"M": {"state": {"S": "refunded"}}} for name in refunds}},
    }


def a_mail(state: str = "unconfirmed", at: int = NOW) -> dict[str, Any]:
    return {"emailId": {"S": MAIL}, "state": {"S": state}, "claimedAt": {"N": str(at)}, "settledAt": {"N": str(at)}}


class TestMails(unittest.TestCase):
    def tables(self, *items: dict[str, Any]) -> PlayedDynamoDb:
        """Tables with these items, whose order waits for its mails."""

        def due(request: dict[str, Any]) -> dict[str, Any]:
            waits = request["ExpressionAttributeValues"][":partition"] == {"S": "email#1"}
            return {"Items": [{"orderId": {"S": ORDER}}] if waits else []}

        def read(request: dict[str, Any]) -> dict[str, Any]:
            [(table, asked)] = request["RequestItems"].items()
            found = [item for item in items for key in asked["Keys"] if key.items() <= item.items()]
            return {"Responses": {table: found}}

        return PlayedDynamoDb(Query=due, BatchGetItem=read, Scan={"Items": list(items)})

    def test_the_mail_about_each_refund_of_a_part_of_a_waiting_order_is_looked_for(self) -> None:
        outside = "re_3N5C7H0V3Q9WXK4E"
        self.assertEqual(surveyed(self.tables(an_order(**{REFUND: {}, outside: {}}), a_mail())), [MAIL])
        self.assertEqual(surveyed(self.tables(an_order(), a_mail())), [])

    def test_a_refund_that_the_partner_made_has_no_mail(self) -> None:
        order = read_order(
            {"orderId": ORDER, "status": "paid", "refunds": {REFUND: {"state": "refunded"}, "re_1": {"state": "refunded"}}}
        )
        self.assertEqual(order.refunds, (REFUND,))

    def test_the_whole_ledger_is_read_only_if_that_is_asked_for(self) -> None:
        tables = self.tables(an_order(**{REFUND: {}}), a_mail())
        surveyed(tables)
        self.assertEqual(tables.sent("Scan"), [])

    def test_the_mails_that_were_parked_lately_are_listed_without_those_that_were_seen(self) -> None:
        for row, listed in ((a_mail(), [MAIL]), (a_mail() | {"seenAt": {"N": str(NOW)}}, [])):
            tables = self.tables(row)
            self.assertEqual([mail.id for mail in parked_lately(deployment(tables), NOW, 7)], listed)
            [request] = tables.sent("Scan")
            self.assertEqual(request["ExpressionAttributeValues"][":since"], {"N": str(NOW - 7 * DAY)})


if __name__ == "__main__":
    unittest.main()
