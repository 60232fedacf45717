"""What `make ops-overdue` shows of real trouble, and that its actions end it and may be repeated."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import unittest
import uuid
from dataclasses import dataclass
from typing import Any

from pipeline import SHIPPING, Pipeline, an_address, eventually

# From local/, which pipeline made importable.
from stack import ROOT

HOUR = 3600 * 1000
DAY = 24 * HOUR
FINE, NEEDS_ATTENTION = 0, 3


def now() -> int:
    return time.time_ns() // 1_000_000


@dataclass(frozen=True)
class Said:
    """How a call ended and what it printed."""

    code: int
    text: str

    @property
    def json(self) -> dict[str, Any]:
        said: dict[str, Any] = json.loads(self.text)
        return said

    def order(self, order: str) -> dict[str, Any]:
        """What the listing says of that order; it must be there."""
        return next(each for each in self.json["orders"] if each["orderId"] == order)

    def letters(self, queue: str) -> list[dict[str, Any]]:
        """The dead letters of that queue."""
        [found] = [each for each in self.json["deadLetters"] if each["queue"] == queue]
        messages: list[dict[str, Any]] = found["messages"]
        assert found["count"] == len(messages), found
        return messages

    def mails(self) -> dict[str, str]:
        """The states of the parked mails."""
        return {mail["emailId"]: mail["state"] for mail in self.json["mails"]}


class OperationsTests(unittest.TestCase):
    """The tests; a subclass says what they run against."""

    pipeline: Pipeline

    def overdue(self, *arguments: str, form: str = "--json") -> Said:
        """Runs the tool as a program does. Whatever it prints, nothing personal is in it."""
        return self._run([sys.executable, str(ROOT / "ops" / "overdue.py"), *([form] if form else []), *arguments])

    def _run(self, command: list[str]) -> Said:
        # Without the settings of a make that runs these tests.
        env = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "MAKE", "MFLAGS"))}
        env["AWS_ENDPOINT_URL"] = self.pipeline.aws.endpoint
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False)
        for personal in ("@", *SHIPPING.values()):
            self.assertNotIn(personal, done.stdout + done.stderr)
        self.assertNotIn("Traceback", done.stderr)
        return Said(done.returncode, done.stdout)

    def item(self, order: str) -> dict[str, Any]:
        """An order as it is stored."""
        table, key = self.pipeline.outputs["OrdersTableName"], {"orderId": {"S": order}}
        answer = self.pipeline.aws.client("dynamodb").get_item(TableName=table, Key=key, ConsistentRead=True)
        item: dict[str, Any] = answer["Item"]
        return item

    def set_order(self, order: str, **numbers: int) -> None:
        """Writes numbers into an order."""
        self.pipeline.aws.client("dynamodb").update_item(
            TableName=self.pipeline.outputs["OrdersTableName"],
            Key={"orderId": {"S": order}},
            UpdateExpression="SET " + ", ".join(f"{name} = :{name}" for name in numbers),
            ExpressionAttributeValues={f":{name}": {"N": str(value)} for name, value in numbers.items()},
        )

    def set_customer(self, order: str, customer: str) -> None:
        """Gives an order another customer: in the sandbox, whoever had bad luck has it no more."""
        self.pipeline.aws.client("dynamodb").update_item(
            TableName=self.pipeline.outputs["OrdersTableName"],
            Key={"orderId": {"S": order}},
            UpdateExpression="SET customerId = :customer",
            ExpressionAttributeValues={":customer": {"S": customer}},
        )

    def put_mail(self, mail: str, state: str, at: int) -> None:
        """Puts a row into the ledger, and takes it away at the end of the test."""
        dynamodb, table = self.pipeline.aws.client("dynamodb"), self.pipeline.outputs["EmailsTableName"]
        row = {"emailId": {"S": mail}, "state": {"S": state}, "holder": {"S": "test"}, "claimedAt": {"N": str(at)}}
        dynamodb.put_item(TableName=table, Item=row)
        self.addCleanup(dynamodb.delete_item, TableName=table, Key={"emailId": {"S": mail}})

    def put_letters(self, output: str, *bodies: str) -> None:
        """Puts messages into a queue, and empties it at the end of the test."""
        sqs, url = self.pipeline.aws.client("sqs"), self.pipeline.outputs[output]
        for body in bodies:
            sqs.send_message(QueueUrl=url, MessageBody=body)
        self.addCleanup(sqs.purge_queue, QueueUrl=url)

    def hide_for(self, output: str, seconds: str) -> None:
        """Changes how long a queue hides a received message, until the end of the test."""
        sqs, url = self.pipeline.aws.client("sqs"), self.pipeline.outputs[output]
        before = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["VisibilityTimeout"])["Attributes"]
        sqs.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": seconds})
        self.addCleanup(sqs.set_queue_attributes, QueueUrl=url, Attributes=before)

    def await_payment(self, order: str, state: str) -> None:
        def reached() -> bool:
            payment = self.pipeline.call(order)[1].get("payment")
            return bool(payment) and payment["state"] == state

        eventually(f"{order} with its payment {state}", reached, 20)

    def await_three_mails(self, address: str) -> None:
        eventually("three mails", lambda: len(self.pipeline.mails_to(address)) >= 3, 20)
        self.pipeline.await_quiet()
        self.assertEqual(len(self.pipeline.mails_to(address)), 3)

    def standing(self, order: str) -> dict[str, Any]:
        """What GET says of an order, but for when somebody looks after it."""
        return {name: value for name, value in self.pipeline.call(order)[1].items() if name != "due"}

    def test_an_order_that_waits_for_its_customer_is_listed_and_becomes_overdue_by_no_number_of_tries(self) -> None:
        order = self.pipeline.place(an_address(), "sandbox-action-required")
        self.await_payment(order, "action_required")
        self.set_order(order, dueAt=now() + HOUR, dueTries=9)
        self.addCleanup(self.set_order, order, dueTries=0)
        listed = self.overdue().order(order)
        self.assertEqual((listed["reasons"], listed["needsAttention"]), (["payment_action_required"], False))
        self.assertEqual((listed["status"], listed["due"]["tries"]), ("invoiced", 9))

    def test_an_order_is_overdue_from_its_third_publication_on(self) -> None:
        order = self.pipeline.place(an_address(), "sandbox-pending")
        self.await_payment(order, "pending")
        for tries, reasons in ((2, ["payment_pending"]), (3, ["overdue", "payment_pending"])):
            self.set_order(order, dueAt=now() + HOUR, dueTries=tries)
            self.addCleanup(self.set_order, order, dueTries=0)
            said = self.overdue()
            self.assertEqual(said.order(order)["reasons"], reasons)
        self.assertEqual(said.code, NEEDS_ATTENTION)

        # By make, for people.
        said = self._run(["make", "--silent", "ops-overdue"])
        self.assertRegex(said.text, rf"(?m)^  {order}  invoiced +payment +3 .* overdue, payment_pending$")
        self.assertIn("Needs attention: orders: 1", said.text)

    def test_a_requeue_brings_an_order_on_whose_message_was_lost(self) -> None:
        address = an_address()
        order = self.pipeline.place(address, "sandbox-timeout")
        self.await_payment(order, "unknown")
        self.pipeline.aws.client("sqs").purge_queue(QueueUrl=self.pipeline.outputs["PaymentQueueUrl"])
        said = self.overdue()
        self.assertEqual((said.order(order)["reasons"], said.code), (["payment_unknown"], NEEDS_ATTENTION))
        self.assertTrue(said.order(order)["payment"]["reference"])

        said = self.overdue("--requeue", order)
        self.assertEqual((said.code, said.json["outcome"]), (FINE, "marked"))
        # Or the sweep would count the look as a try.
        self.assertIn("requeuedAt", self.item(order))
        # Its minute may be over just now; else it is marked already.
        self.assertIn(self.overdue("--requeue", order, "--sweep").json["outcome"], ("due_already", "marked"))
        self.pipeline.await_status(order, "shipped", 20)
        self.await_three_mails(address)

        before = self.standing(order)
        self.assertEqual(self.overdue("--requeue", order).json["outcome"], "marked")
        # Or the relay would publish it as if it had happened just now.
        self.assertNotIn("event", self.item(order))
        said = self.overdue("--requeue", order, "--sweep")
        self.assertEqual(said.json["sweep"]["failed"], 0)
        self.assertEqual(self.overdue("--requeue", order).json["outcome"], "nothing_due")
        self.pipeline.await_quiet()
        self.assertEqual((self.standing(order), len(self.pipeline.mails_to(address))), (before, 3))

    def test_an_order_that_is_not_there_cannot_be_requeued(self) -> None:
        said = self.overdue("--requeue", "ord_01JDB4XK00EXAMPVE0RDER0001")
        self.assertEqual((said.code, said.json["outcome"]), (1, "unknown"))

    def test_a_dead_letter_is_shown_without_being_lost_and_a_redrive_brings_its_order_on(self) -> None:
        # Three minutes between two receives are right in the cloud, and a quarter of an hour too long here.
        self.hide_for("PaymentQueueUrl", "1")
        address = an_address()
        order = self.pipeline.place(address, "sandbox-outage")
        eventually("the dead letter", lambda: self.pipeline.depth("PaymentDeadLettersUrl") == 1, 30)
        said = self.overdue()
        [letter] = said.letters("payment")
        self.assertEqual(
            (letter["orderId"], letter["eventId"], letter["type"], letter["redrive"]),
            (order, f"{order}/2", "InvoiceCreated", "try_again"),
        )
        self.assertEqual(said.code, NEEDS_ATTENTION)
        self.assertEqual(self.overdue().letters("payment"), [letter])

        self.set_customer(order, "8080")
        # It is still missing, so it goes only if the operator is sure.
        refused = self.overdue("--drop", f"payment/{letter['messageId']}")
        self.assertEqual((refused.code, refused.json["moved"], refused.json["left"]), (1, 0, [letter]))
        self.assertEqual(self.overdue("--redrive", "payment").json["moved"], 1)
        self.pipeline.await_status(order, "shipped", 20)
        self.await_three_mails(address)
        self.assertEqual(self.overdue("--redrive", "payment").json["moved"], 0)
        self.assertEqual(self.overdue().letters("payment"), [])

    def test_letters_about_a_finished_order_are_left_by_a_redrive_and_dropped_by_a_drop(self) -> None:
        address = an_address()
        order = self.pipeline.place(address)
        self.pipeline.await_status(order, "shipped", 20)
        self.await_three_mails(address)
        before = self.standing(order)
        letter = {"specversion": "1.0", "source": "/orderflow", "subject": order, "time": "2026-11-23T10:12:05+00:00"}
        letter |= {"timemillis": "1795428725000"}
        self.put_letters("ShippingDeadLettersUrl", json.dumps(letter | {"id": f"{order}/3", "type": "PaymentProcessed"}))
        mail = {"name": SHIPPING["name"], "email": address}
        shipped = json.dumps(letter | {"id": f"{order}/4", "type": "OrderShipped", "data": mail})
        # More than one call brings.
        self.put_letters("EmailDeadLettersUrl", *[shipped] * 12)

        said = self.overdue()
        self.assertEqual([letter["redrive"] for letter in said.letters("shipment")], ["nothing"])
        self.assertEqual([(letter["orderId"], letter["redrive"]) for letter in said.letters("email")], [(order, "nothing")] * 12)
        for queue, count in (("shipment", 1), ("email", 12)):
            moved = self.overdue("--redrive", queue).json
            self.assertEqual((moved["moved"], [each["redrive"] for each in moved["left"]]), (0, ["nothing"] * count))
        [letter] = said.letters("shipment")
        dropped = self.overdue("--drop", f"shipment/{letter['messageId']}")
        self.assertEqual((dropped.code, dropped.json["letters"]), (FINE, [letter]))
        self.assertEqual(self.overdue("--drop", f"shipment/{letter['messageId']}").code, 1)
        self.assertEqual(self.overdue("--drop", "email/nothing").json["moved"], 12)
        self.pipeline.await_quiet()
        for queue in ("Shipping", "Email"):
            self.assertEqual(self.pipeline.depth(f"{queue}DeadLettersUrl"), 0)
        self.assertEqual((self.standing(order), len(self.pipeline.mails_to(address))), (before, 3))

    def test_a_mail_is_sent_again_once_and_one_that_was_seen_is_no_longer_listed(self) -> None:
        address = an_address()
        order = self.pipeline.place(address)
        self.pipeline.await_status(order, "shipped", 20)
        self.await_three_mails(address)
        self.overdue("--requeue", order, "--sweep")
        mail = f"{order}/OrderShipped"
        self.assertEqual(self.overdue("--resend", mail).json["outcome"], "sent")
        self.put_mail(mail, "unconfirmed", now() - DAY)
        self.assertEqual(self.overdue("--mails", "7").mails(), {mail: "unconfirmed"})
        self.assertEqual(self.overdue("--seen", mail).json["outcome"], "marked")
        self.assertEqual(self.overdue("--mails", "7").mails(), {})

        said = self.overdue("--resend", mail, "--sweep")
        self.assertEqual((said.code, said.json["outcome"]), (FINE, "queued"))
        eventually("the fourth mail", lambda: len(self.pipeline.mails_to(address)) == 4, 20)
        self.assertEqual(self.overdue("--resend", mail).json["outcome"], "sent")
        self.pipeline.await_quiet()
        self.assertEqual(len(self.pipeline.mails_to(address)), 4)
        self.assertEqual(self.overdue("--resend", f"{order}/OrderCancelled").json["outcome"], "unknown")

    def test_what_is_not_ours_to_read_is_counted_and_never_quoted(self) -> None:
        self.put_letters("BillingDeadLettersUrl", f"poison {SHIPPING['name']} {an_address()}")
        self.put_letters("RelayFailuresUrl", json.dumps({"name": SHIPPING["name"]}))
        said = self.overdue()
        self.assertEqual([letter["redrive"] for letter in said.letters("billing")], ["unreadable"])
        self.assertEqual((said.json["relayFailures"], said.code), (1, NEEDS_ATTENTION))
        self.assertIn("Relay failures: 1", self.overdue(form="").text)

    def test_parked_mails_of_waiting_orders_are_shown_and_all_others_when_the_ledger_is_read(self) -> None:
        order = self.pipeline.place(an_address(), "sandbox-action-required")
        self.await_payment(order, "action_required")
        self.pipeline.await_quiet()
        waiting, other, stuck, old, new = (f"{order}/PaymentProcessed", *(f"request/{uuid.uuid4().hex}" for _ in range(4)))
        self.put_mail(waiting, "unconfirmed", now())
        self.put_mail(other, "unconfirmed", now() - DAY)
        self.put_mail(stuck, "sending", now() - HOUR)
        self.put_mail(old, "unconfirmed", now() - 8 * DAY)
        self.put_mail(new, "sending", now())
        self.assertEqual(self.overdue().mails(), {waiting: "unconfirmed"})
        said = self.overdue("--mails", "7")
        self.assertEqual(said.mails(), {waiting: "unconfirmed", other: "unconfirmed", stuck: "sending"})
        self.assertEqual(said.code, NEEDS_ATTENTION)
