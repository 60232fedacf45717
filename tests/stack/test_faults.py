"""What the simulator promises, on real processes: 200 orders flow while functions and deliveries are killed at random.

FAULT_SEED=n makes the choices of a run again. At which instruction they strike is up to the machine.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import threading
import time
import unittest
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from decimal import Decimal
from functools import partial
from typing import Any

from pipeline import CART, QUEUES, SHIPPING, Pipeline

# From local/, which pipeline made importable.
from localaws import sent_mails
from processes import Child, free_port, run
from stack import NAME, ROOT, Stack, function_variables

ORDERS = 200
CLIENTS = 8
# Between two orders, in seconds: all of them are placed while faults strike.
PACE = 0.3
# How long faults go on at most, if the clients do not get through.
FAULTS_AT_MOST = 100
# After the last fault, in seconds. An order that lost its message is looked at two minutes after its last step; a
# payment's claim that a killed function left behind holds for 90 s, a mail's for seven minutes, and the sweep's looks
# are up to eight minutes apart by then.
PATIENCE = 960
# Seconds that a message is hidden while a worker has it. In the cloud it is one to three minutes, too long for a test.
# Five receives end before a claim does, so some messages become dead letters, and the sweep has to help.
HIDDEN = 15

# What is done to deliveries: some mappings are off for a while; what waits in a queue is lost or delivered twice; the
# whole local AWS stands still, for a moment or for long.
OUTAGES = ("late", "hiccup", "freeze", *(f"{fate} {queue}" for fate in ("lost", "doubled") for queue in QUEUES))

# The words by which a mail's subject tells its event.
SUBJECTS = {
    "Your invoice for": "InvoiceCreated",
    "We received your payment": "PaymentProcessed",
    "is on its way": "OrderShipped",
}
EVENTS = set(SUBJECTS.values())


def running(child: Child | None) -> Child:
    """The child, which must have been started."""
    assert child
    return child


class Faults:
    """Breaks a stack until it is told to stop, and leaves it whole. What it does next, and for how long, comes from the seed.

    It does not kill MiniStack itself: that holds the database in memory, and PERSIST_STATE writes it down only when
    MiniStack ends by itself, so a kill would lose writes that were acknowledged, which no DynamoDB does. Instead
    MiniStack is frozen, longer than its clients wait: what they gave up on is done all the same once it goes on.
    """

    def __init__(self, stack: Stack, seed: int) -> None:
        self.struck: Counter[str] = Counter()
        self._stack = stack
        self._seed = seed
        self._over = threading.Event()
        self._delivering = threading.Event()
        self._sqs, self._lambda = (stack.aws.client(service) for service in ("sqs", "lambda"))
        mappings = self._lambda.list_event_source_mappings()["EventSourceMappings"]
        self._mappings = {mapping["EventSourceArn"]: mapping["UUID"] for mapping in mappings}
        outputs = stack.aws.outputs(NAME)
        self._queues = {queue: self._arn(outputs[f"{queue}QueueUrl"]) for queue in QUEUES}

    @property
    def _functions(self) -> Child:
        return running(self._stack.functions)

    def _arn(self, url: str) -> str:
        attributes = self._sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]
        return str(attributes["QueueArn"])

    @contextmanager
    def striking(self) -> Iterator[None]:
        """Faults strike until the block ends, or for `FAULTS_AT_MOST`."""
        with ThreadPoolExecutor(2) as pool:
            # Two sequences of choices that do not wait for each other, so that an outage meets a crash.
            works = (self._crashes, self._outages)
            striking = [pool.submit(work, random.Random(f"{self._seed} {work.__name__}")) for work in works]
            timer = threading.Timer(FAULTS_AT_MOST, self._over.set)
            timer.start()
            try:
                yield
            finally:
                timer.cancel()
                self._over.set()
            for thread in striking:
                thread.result()

    def _crashes(self, choice: random.Random) -> None:
        """Kills all functions and `cargo lambda watch`, which would not start a single one again, and starts them anew."""
        while not self._over.wait(choice.uniform(1, 3)):
            # When deliveries have just begun again, there is most to break.
            self._delivering.clear()
            self._delivering.wait(choice.uniform(0, 5))
            self._over.wait(choice.uniform(0, 0.5))
            if choice.random() < 0.5:
                self._kill_one(choice.random())
                self._over.wait(choice.uniform(0, 1))
            self.struck["functions killed"] += len(self._functions.below())
            self._functions.kill()
            self.struck["crashes"] += 1
            self._over.wait(choice.uniform(0.2, 3))
            self._stack.restart_functions()

    def _kill_one(self, which: float) -> None:
        if functions := sorted(self._functions.below()):
            with suppress(ProcessLookupError):
                os.kill(functions[int(which * len(functions))], signal.SIGKILL)
                self.struck["single kills"] += 1

    def _outages(self, choice: random.Random) -> None:
        """Stops deliveries, loses and doubles what waits for them, and freezes the whole local AWS."""
        hand: list[str] = []
        while not self._over.wait(choice.uniform(0.5, 2)):
            # As cards are dealt, so that a run has some of each.
            hand = hand or choice.sample(OUTAGES, len(OUTAGES))
            outage = hand.pop()
            if outage == "hiccup":
                self._freeze(choice.uniform(0.5, 3))
            elif outage == "freeze":
                # Longer than a function waits for DynamoDB and SES.
                self._freeze(choice.uniform(10.5, 12))
            elif outage == "late":
                sources = choice.sample(sorted(self._mappings), choice.randint(1, len(self._mappings)))
                self._switch_off(sources, choice.uniform(1, 5))
            else:
                # Of one queue only: the steps before it go on and fill it.
                fate, _, queue = outage.partition(" ")
                arn = self._queues[queue]
                self._switch_off([arn], choice.uniform(1, 4), partial(self._spoil, arn, fate))
            self._delivering.set()
            self.struck[outage] += 1

    def _freeze(self, seconds: float) -> None:
        running(self._stack.aws.process).freeze()
        try:
            self._over.wait(seconds)
        finally:
            running(self._stack.aws.process).thaw()

    def _switch_off(self, sources: list[str], seconds: float, meanwhile: Callable[[], None] | None = None) -> None:
        """Nothing from these sources is delivered for so long."""
        self._deliver(sources, enabled=False)
        try:
            self._over.wait(seconds)
            if meanwhile:
                meanwhile()
        finally:
            self._deliver(sources, enabled=True)

    def _deliver(self, sources: list[str], *, enabled: bool) -> None:
        for source in sources:
            self._lambda.update_event_source_mapping(UUID=self._mappings[source], Enabled=enabled)

    def _spoil(self, arn: str, fate: str) -> None:
        """Loses or doubles what the queue holds."""
        name = arn.rpartition(":")[2]
        url = self._sqs.get_queue_url(QueueName=name)["QueueUrl"]
        messages = queued(self._stack.aws.endpoint).get(name, [])
        if fate == "lost":
            self._sqs.purge_queue(QueueUrl=url)
        else:
            for message in messages:
                self._sqs.send_message(QueueUrl=url, MessageBody=message["Body"])
        self.struck[f"messages {fate}"] += len(messages)


def queued(aws: str) -> dict[str, list[dict[str, Any]]]:
    """What each queue holds, by its name; looking does not count as a receive."""
    with urllib.request.urlopen(f"{aws}/_ministack/sqs/messages", timeout=30) as answer:
        accounts = json.load(answer)["messages"]
    return {
        url.rpartition("/")[2]: messages
        for regions in accounts.values()
        for queues in regions.values()
        for url, messages in queues.items()
    }


def cart(number: int) -> dict[str, Any]:
    """An order with an address and a total of its own. Every tenth customer's charge is taken and its answer lost."""
    return CART | {
        "customerId": "sandbox-timeout" if number % 10 == 0 else str(number),
        "items": [{"productId": "1234", "quantity": 2, "price": number + 1}],
        "checkout": SHIPPING | {"email": address(number), "currency": "USD"},
    }


def address(number: int) -> str:
    return f"customer-{number}@example.com"


def event_of(mail: dict[str, Any]) -> str:
    [event] = [event for words, event in SUBJECTS.items() if words in mail["Subject"]]
    return event


def rests(standing: dict[str, Any]) -> bool:
    """Whether nothing more is to happen with that order."""
    return standing["status"] == "shipped" and all(mail["status"] not in ("queued", "sending") for mail in standing["emails"])


class TestFaults(unittest.TestCase):
    stack: Stack
    pipeline: Pipeline

    @classmethod
    def setUpClass(cls) -> None:
        if run(["cargo", "build", "--bins"], ROOT):
            raise AssertionError("the functions do not compile")
        cls.stack = Stack(free_port(), free_port(), ROOT / ".local" / "test-faults", reload=False)
        cls.enterClassContext(cls.stack)
        cls.pipeline = Pipeline(cls.stack.url, cls.stack.aws, cls.stack.aws.outputs(NAME))
        sqs = cls.stack.aws.client("sqs")
        for queue in QUEUES:
            url = cls.pipeline.outputs[f"{queue}QueueUrl"]
            sqs.set_queue_attributes(QueueUrl=url, Attributes={"VisibilityTimeout": str(HIDDEN)})

    def setUp(self) -> None:
        self.repeats: Counter[str] = Counter()
        self.redelivered: set[str] = set()
        self.last_sweep = 0.0
        self.interrupted = False

    def test_200_orders_under_random_kills_are_each_charged_once_shipped_and_mailed_at_most_once_per_event(self) -> None:
        seed = int(os.environ.get("FAULT_SEED") or random.randrange(2**32))
        print(f"\nfaults: FAULT_SEED={seed}", flush=True)
        faults = Faults(self.stack, seed)
        started = time.monotonic()
        with faults.striking():
            orders = self.place_all()
        struck_for = time.monotonic() - started
        standings = self.await_rest(orders)
        if len(standings) == len(orders):
            # What is still on its way must have no effect.
            self.pipeline.await_quiet(2 * HIDDEN)
        published_again = running(self.stack.functions).log.read_text(errors="replace").count("published again")
        letters = {queue: self.pipeline.depth(f"{queue}DeadLettersUrl") for queue in QUEUES}
        mails = sent_mails(self.stack.aws.endpoint)
        parked = Counter(mail["status"] for standing in standings.values() for mail in standing["emails"])
        print(
            f"faults for {struck_for:.0f} s, at rest after {time.monotonic() - started:.0f} s: {dict(faults.struck)}\n"
            f"  requests repeated: {dict(self.repeats)}; messages delivered again: {len(self.redelivered)}; "
            f"orders published again: {published_again}; dead letters: {letters}\n"
            f"  mails: {len(mails)} sent, ledger {dict(parked)}",
            flush=True,
        )

        with self.subTest("no order is stuck"):
            self.assertEqual(orders.keys() - standings.keys(), set())
        with self.subTest("orders"):
            self.assert_each_ordered_once(orders)
        with self.subTest("charges"):
            self.assert_charged_once(standings)
        with self.subTest("mails"):
            self.assert_mailed_at_most_once(orders, standings, mails)
        with self.subTest("it was no calm run"):
            self.assertGreaterEqual(faults.struck["crashes"], 5)
            self.assertGreaterEqual(sum(faults.struck[outage] for outage in OUTAGES), 5)
            self.assertGreater(faults.struck["messages lost"] + faults.struck["messages doubled"], 0)
            self.assertGreater(len(self.redelivered) + published_again, 0)

    # ------------------------------------------------------------ placing

    def place_all(self) -> dict[str, int]:
        """Places all orders at a steady pace; returns their numbers by their ids."""
        started = time.monotonic()

        def place_in_turn(number: int) -> str:
            while not self.interrupted and (early := started + number * PACE - time.monotonic()) > 0:
                time.sleep(min(early, 1))
            return self.place(number)

        with ThreadPoolExecutor(CLIENTS) as clients:
            placed = [clients.submit(place_in_turn, number) for number in range(ORDERS)]
            try:
                while not all(order.done() for order in placed):
                    self.watch_deliveries()
                    time.sleep(1)
            except BaseException:
                self.interrupted = True
                raise
        return {order.result(): number for number, order in enumerate(placed)}

    def place(self, number: int) -> str:
        """As a client does that wants exactly one order: the same request under the same key until it is answered."""
        deadline = time.monotonic() + FAULTS_AT_MOST + PATIENCE
        while not self.interrupted and time.monotonic() < deadline:
            try:
                status, answer = self.pipeline.call("cart.json", cart(number), **{"Idempotency-Key": f"faults-{number}"})
            except (OSError, http.client.HTTPException, ValueError) as lost:
                self.repeats[type(lost).__name__] += 1
            else:
                if status == 201:
                    return str(answer["orderId"])
                assert status >= 500, answer
                self.repeats[str(status)] += 1
            time.sleep(0.3)
        raise AssertionError(f"order {number} was never taken")

    def watch_deliveries(self) -> None:
        """Notes which messages were received more than once."""
        try:
            queues = queued(self.stack.aws.endpoint)
        except OSError:
            # It is frozen.
            return
        messages = [message for held in queues.values() for message in held]
        self.redelivered |= {message["MessageId"] for message in messages if message["ReceiveCount"] > 1}

    # ------------------------------------------------------------ coming to rest

    def await_rest(self, orders: dict[str, int]) -> dict[str, Any]:
        """What GET says of each order once nothing more happens with it; without those that never come to rest."""
        standings: dict[str, Any] = {}
        deadline = time.monotonic() + PATIENCE
        while len(standings) < len(orders):
            self.watch_deliveries()
            self.sweep()
            restless = []
            for order in orders.keys() - standings.keys():
                status, standing = self.pipeline.call(order)
                if status == 200 and rests(standing):
                    standings[order] = standing
                else:
                    restless.append((status, standing))
            if time.monotonic() > deadline:
                print(f"{len(restless)} orders are stuck {PATIENCE} s after the last fault, such as {restless[:3]}", flush=True)
                break
            time.sleep(2)
        return standings

    def sweep(self) -> None:
        """More often than the template's schedule; it takes only what is due all the same."""
        if time.monotonic() - self.last_sweep > 5:
            self.pipeline.sweep()
            self.last_sweep = time.monotonic()

    # ------------------------------------------------------------ what must be true

    def assert_each_ordered_once(self, orders: dict[str, int]) -> None:
        self.assertEqual(len(orders), ORDERS)
        table = function_variables(self.stack.aws)["ORDERS_TABLE"]
        pages = self.stack.aws.client("dynamodb").get_paginator("scan").paginate(TableName=table, ProjectionExpression="orderId")
        stored = {item["orderId"]["S"] for page in pages for item in page["Items"]}
        self.assertEqual(stored, orders.keys())

    def assert_charged_once(self, standings: dict[str, Any]) -> None:
        """One charge for each order in the sandbox's own books: that which the order names, of the order's total."""
        charges = [json.loads(file.read_text(), parse_float=Decimal) for file in self.stack.ledger.glob("*.json")]
        expected = [
            {
                "reference": standing["payment"]["reference"],
                "invoiceId": standing["invoiceId"],
                "attempt": 1,
                "amount": standing["totalAmount"],
                "currency": "USD",
            }
            for standing in standings.values()
        ]
        self.assertEqual(by_invoice(charges), by_invoice(expected))
        self.assertEqual(len({charge["invoiceId"] for charge in charges}), ORDERS)

    def assert_mailed_at_most_once(self, orders: dict[str, int], standings: dict[str, Any], mails: list[dict[str, Any]]) -> None:
        """One mail for each order and event; none is allowed only where the order says that it is not known."""
        order_of = {address(number): order for order, number in orders.items()}
        sent: Counter[tuple[str, str]] = Counter()
        for mail in mails:
            [to] = mail["To"]
            self.assertIn(order_of[to], mail["Subject"])
            sent[order_of[to], event_of(mail)] += 1
        missing = 0
        for order, standing in standings.items():
            states = {mail["event"]: mail["status"] for mail in standing["emails"]}
            self.assertEqual(states.keys(), EVENTS, order)
            for event, state in states.items():
                with self.subTest(order=order, event=event, state=state):
                    self.assertIn(state, ("sent", "unconfirmed"))
                    self.assertIn(sent[order, event], (1,) if state == "sent" else (0, 1))
                missing += sent[order, event] == 0
        self.assertEqual(len(mails) + missing, ORDERS * len(EVENTS))
        print(f"  mails that may be missing and are: {missing}", flush=True)


def by_invoice(charges: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(charges, key=lambda charge: (charge["invoiceId"], charge["reference"]))


if __name__ == "__main__":
    unittest.main()
