"""What a running pipeline must do, however it runs: deployed behind API Gateway, or in `cargo lambda watch`."""

from __future__ import annotations

import json
import secrets
import sys
import time
import unittest
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from string import ascii_lowercase
from typing import Any, TypeVar

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "local"))

# The path above makes them importable.
from localaws import MiniStack, sent_mails
from stack import NAME

QUEUES = ("Billing", "Payment", "Shipping", "Email")
T = TypeVar("T")

# The seed's requests. The invoice lists other products than the cart, as the seed does.
CUSTOMER = "8080"
CART = {
    "customerId": CUSTOMER,
    "items": [
        {"productId": "1234", "quantity": 2, "price": 50},
        {"productId": "2345", "quantity": 1, "price": 100},
    ],
}
INVOICE = {
    "customerId": "8080",
    "tax": 36.0,
    "subTotalAmount": 164.0,
    "totalAmount": 200.0,
    "currency": "USD",
    "items": [
        {"productId": "1", "quantity": 2, "price": 50},
        {"productId": "2", "quantity": 1, "price": 100},
    ],
    "name": "Lital Hay",
    "phone": "0545870006",
    "shipping_address": "17 boulevard, 123 apt 6 Brooklyn NY",
}
PAYMENT = {"customerId": "8080", "totalAmount": 200.0}
SHIPPING = {"name": "Lital Hay", "phone": "0545870006", "shipping_address": "17 boulevard, 123 apt 6 Brooklyn NY"}


@dataclass
class Pipeline:
    """A running pipeline: where its API is, what a caller sends along, and the AWS behind it."""

    url: str
    aws: MiniStack
    outputs: Mapping[str, str]
    headers: Mapping[str, str] = field(default_factory=dict)

    def call(self, path: str, body: object = None, **headers: str) -> tuple[int, Any]:
        """Status and JSON body (numbers as they are written) of a POST, or of a GET where there is no body."""
        request = urllib.request.Request(
            f"{self.url}/api/order/{path}",
            None if body is None else json.dumps(body).encode(),
            {"Content-Type": "application/json", **self.headers, **headers},
        )
        try:
            answer = urllib.request.urlopen(request, timeout=30)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            return answer.status, json.load(answer, parse_float=Decimal)

    def when_free(self, path: str, body: object) -> tuple[int, Any]:
        """As `call`, repeated while the answer is that the same step is in progress right now: the chain works on it too."""

        def settled() -> tuple[int, Any] | None:
            status, answer = self.call(path, body)
            return None if status == 409 and answer["code"] == "in_progress" else (status, answer)

        return eventually(f"a final answer of {path}", settled, 30)

    def place(self, mail: str, customer: str = CUSTOMER) -> str:
        """Places the seed's cart with `checkout`; returns the order's id. docs/local.md lists the sandbox's customers."""
        checkout = SHIPPING | {"email": mail, "currency": "USD"}
        status, order = self.call("cart.json", CART | {"customerId": customer, "checkout": checkout})
        assert status == 201, order
        return str(order["orderId"])

    def await_status(self, order: str, status: str, seconds: float) -> None:
        eventually(f"{order} {status}", lambda: self.call(order)[1]["status"] == status, seconds)

    def await_quiet(self, seconds: float = 30) -> None:
        """Until no message waits in a queue or is being worked on."""
        eventually("quiet queues", lambda: not any(self.depth(f"{queue}QueueUrl") for queue in QUEUES), seconds)

    def depth(self, output: str) -> int:
        """How many messages that queue holds, hidden ones too."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        sqs = self.aws.client("sqs")
        attributes = sqs.get_queue_attributes(QueueUrl=self.outputs[output], AttributeNames=names)["Attributes"]
        return sum(int(attributes[name]) for name in names)

    def sweep(self) -> dict[str, int]:
        """Lets the sweep run now; returns its report."""
        function = physical_id(self.aws, "Sweep")
        answer = self.aws.client("lambda").invoke(FunctionName=function, Payload=b"{}")
        report: dict[str, int] = json.load(answer["Payload"])
        assert "FunctionError" not in answer, report
        return report

    def mails_to(self, address: str) -> list[dict[str, Any]]:
        return [mail for mail in sent_mails(self.aws.endpoint) if mail["To"] == [address]]


def eventually(what: str, probe: Callable[[], T | None], seconds: float) -> T:
    """The first truthy result of the probe."""
    deadline = time.monotonic() + seconds
    while True:
        if result := probe():
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.1)


def physical_id(aws: MiniStack, name: str) -> str:
    """What CloudFormation called that resource."""
    resource = aws.client("cloudformation").describe_stack_resource(StackName=NAME, LogicalResourceId=name)
    return str(resource["StackResourceDetail"]["PhysicalResourceId"])


def an_address() -> str:
    """A mail address that no other test uses."""
    return f"{uuid.uuid4().hex[:12]}@example.com"


def a_key() -> str:
    """An idempotency key that no other call has. Letters only: some UUIDs have enough digits to look like a card number."""
    return "".join(secrets.choice(ascii_lowercase) for _ in range(26))


class PipelineTests(unittest.TestCase):
    """The tests; a subclass says what they run against."""

    pipeline: Pipeline

    def test_the_seeds_calls_give_the_seeds_answers(self) -> None:
        call = self.pipeline.call
        status, order = call("cart.json", CART)
        number = order.pop("orderId")
        self.assertEqual(
            (status, order),
            (
                201,
                {
                    "tax": Decimal("36.0"),
                    "subTotalAmount": Decimal("164.0"),
                    "totalAmount": Decimal("200.0"),
                    "items": CART["items"],
                    "status": "pending",
                },
            ),
        )

        status, invoice = call("invoice.json", INVOICE | {"orderId": number})
        invoice_id = invoice.pop("invoiceId")
        self.assertEqual((status, invoice), (201, {"orderId": number, "customerId": "8080", "totalAmount": Decimal("200.0")}))

        status, payment = self.pipeline.when_free("payment.json", PAYMENT | {"invoiceId": invoice_id})
        self.assertIsInstance(payment.pop("transactionId"), int)
        for moment in ("created_at", "completed_at"):
            self.assertIsInstance(payment["payment"].pop(moment), str)
        self.assertEqual(
            (status, payment),
            (
                201,
                {
                    "credit_card": {
                        "first_name": "Bob",
                        "last_name": "Norman",
                        "first_digits": "424242",
                        "last_digits": "4242",
                        "brand": "visa",
                        "expiry_month": 9,
                        "expiry_year": 2024,
                        "customer_id": 8080,
                    },
                    "payment": {"currency": "USD", "customer_id": 8080, "amount": "200.0"},
                },
            ),
        )

        status, shipment = self.pipeline.when_free("shipping.json", SHIPPING | {"orderId": number})
        self.assertEqual((status, list(shipment)), (201, ["tracking_number"]))
        self.assertIsInstance(shipment["tracking_number"], int)

        status, standing = call(number)
        self.assertEqual((status, standing["status"]), (200, "shipped"))

        address = an_address()
        letter = {"event": "OrderShipped", "name": "Lital Hay", "email": address}
        self.assertEqual(call("email.json", letter), (200, {"status": "OK"}))
        self.assertEqual(len(self.pipeline.mails_to(address)), 1)

    def test_the_seeds_slip_sends_a_mail_from_the_shipping_path(self) -> None:
        address = an_address()
        letter = {"event": "InvoiceCreated", "name": "Lital Hay", "email": address}
        self.assertEqual(self.pipeline.call("shipping.json", letter), (200, {"status": "OK"}))
        eventually("its mail", lambda: self.pipeline.mails_to(address), 20)

    def test_a_cart_with_checkout_is_shipped_within_20_s_with_exactly_three_mails(self) -> None:
        address = an_address()
        started = time.monotonic()
        order = self.pipeline.place(address)
        self.pipeline.await_status(order, "shipped", 20)
        eventually("three mails", lambda: len(self.pipeline.mails_to(address)) >= 3, 20 - (time.monotonic() - started))
        self.pipeline.await_quiet()
        mails = self.pipeline.mails_to(address)
        self.assertEqual(len(mails), 3, [mail["Subject"] for mail in mails])
        self.assertEqual(len({mail["Subject"] for mail in mails}), 3)

    def test_a_repeated_cart_under_one_key_is_one_order(self) -> None:
        key = {"Idempotency-Key": a_key()}
        self.assertEqual(self.pipeline.call("cart.json", CART, **key), self.pipeline.call("cart.json", CART, **key))

    def test_a_poison_message_is_in_its_dead_letter_queue_after_five_receives_while_its_neighbours_pass(self) -> None:
        sqs = self.pipeline.aws.client("sqs")
        queue, dead = (self.pipeline.outputs[f"Billing{name}Url"] for name in ("Queue", "DeadLetters"))
        hidden = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["VisibilityTimeout"])["Attributes"]
        # A minute between two receives is right in the cloud, and five minutes too long here.
        sqs.set_queue_attributes(QueueUrl=queue, Attributes={"VisibilityTimeout": "1"})
        self.addCleanup(sqs.set_queue_attributes, QueueUrl=queue, Attributes=hidden)

        poison = f"poison {uuid.uuid4().hex}"
        before = self.pipeline.place(an_address())
        sqs.send_message(QueueUrl=queue, MessageBody=poison)
        after = self.pipeline.place(an_address())
        self.pipeline.await_status(before, "shipped", 20)
        self.pipeline.await_status(after, "shipped", 20)

        eventually("the dead letter", lambda: self.pipeline.depth("BillingDeadLettersUrl") == 1, 30)
        [message] = sqs.receive_message(QueueUrl=dead, MessageSystemAttributeNames=["ApproximateReceiveCount"])["Messages"]
        self.assertEqual(message["Body"], poison)
        # This receive is the sixth.
        self.assertEqual(message["Attributes"]["ApproximateReceiveCount"], "6")
        sqs.delete_message(QueueUrl=dead, ReceiptHandle=message["ReceiptHandle"])
        self.pipeline.await_quiet()
        for other in ("Payment", "Shipping", "Email"):
            self.assertEqual(self.pipeline.depth(f"{other}DeadLettersUrl"), 0)
