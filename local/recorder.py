"""Records what happens to each order on the local stack, step by step, for the console."""

from __future__ import annotations

import itertools
import json
import re
import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from boto3.dynamodb.types import TypeDeserializer

from localaws import MiniStack, sent_mails

ORDER_ID = re.compile(r"ord_[0-7][0-9A-HJKMNP-TV-Z]{25}")
# Older steps are forgotten: some hundred orders.
STEPS = 20_000
# How often the stream, the log, and the mails are read, in seconds.
INTERVAL = 0.1


def now() -> int:
    """The time in milliseconds, as in the tables."""
    return time.time_ns() // 1_000_000


@dataclass
class Step:
    """Something that happened to orders. Times are in milliseconds."""

    lane: str
    title: str
    orders: frozenset[str]
    at: int = field(default_factory=now)
    # None while it is running.
    end: int | None = None
    # `ok`, `refused`, `failed`, `fault`, or `running`.
    outcome: str = "ok"
    # The binary whose log lines belong to it.
    service: str | None = None
    detail: dict[str, Any] = field(default_factory=dict)
    number: int = 0

    def finish(self, outcome: str, **detail: object) -> None:
        """Records its outcome."""
        self.end = now()
        self.outcome = outcome
        self.detail |= detail


@dataclass(frozen=True)
class LogLine:
    """A line that a function logged about an order."""

    at: int
    service: str
    order: str
    fields: Mapping[str, Any]


class Recorder:
    """Collects steps from the HTTP front, the orders' stream, the functions' log, and the mails."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._steps: deque[Step] = deque(maxlen=STEPS)
        self._lines: deque[LogLine] = deque(maxlen=STEPS)
        self._numbers = itertools.count(1)
        # The latest image of each order.
        self._orders: dict[str, dict[str, Any]] = {}
        self.mails: list[dict[str, Any]] = []
        self._stopped = threading.Event()
        self._threads: list[threading.Thread] = []

    def add(self, step: Step) -> Step:
        """Keeps a step; it may still change until it ends."""
        with self._lock:
            step.number = next(self._numbers)
            self._steps.append(step)
        return step

    def steps(self, order: str) -> list[Step]:
        """An order's steps in the order of their times."""
        with self._lock:
            return sorted((step for step in self._steps if order in step.orders), key=lambda step: (step.at, step.number))

    def lines(self, order: str) -> list[LogLine]:
        """What the functions logged about an order."""
        with self._lock:
            return [line for line in self._lines if line.order == order]

    def orders(self) -> list[dict[str, Any]]:
        """The latest image of each order, newest first."""
        with self._lock:
            return sorted(self._orders.values(), key=lambda item: int(item.get("createdAt", 0)), reverse=True)

    def order(self, number: str) -> dict[str, Any] | None:
        """The latest image of an order."""
        with self._lock:
            return self._orders.get(number)

    def start(self, aws: MiniStack, log: Path) -> None:
        """Starts reading, until `stop`."""
        stream = OrderStream(aws)
        tail = Tail(log)
        readers = {
            "orders' stream": lambda: self._table(stream.images()),
            "functions' log": lambda: self._log(tail.lines()),
            "mails": lambda: self._mails(sent_mails(aws.endpoint)),
        }
        for name, read in readers.items():
            thread = threading.Thread(target=self._repeat, args=(read,), name=name, daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """Stops reading."""
        self._stopped.set()
        for thread in self._threads:
            thread.join(timeout=5)

    def _repeat(self, read: Any) -> None:  # noqa: ANN401  (a call without a result)
        while not self._stopped.wait(INTERVAL):
            try:
                read()
            except Exception:  # noqa: S112  (the stack is stopping, or busy; the next round reads on)
                continue

    def _table(self, images: Iterable[dict[str, Any]]) -> None:
        for at, image in timed(images, now()):
            if not ORDER_ID.fullmatch(str(image.get("orderId"))):
                continue
            order = image["orderId"]
            with self._lock:
                before = self._orders.get(order, {})
                self._orders[order] = image
            for step in written(before, image, at):
                self.add(step)

    def _log(self, lines: Iterable[str]) -> None:
        for line in lines:
            read = read_line(line)
            if read:
                with self._lock:
                    self._lines.append(read)

    def _mails(self, mails: list[dict[str, Any]]) -> None:
        known = len(self.mails)
        for mail in mails[known:]:
            found = ORDER_ID.search(mail.get("BodyText") or "")
            orders = frozenset([found[0]] if found else [])
            subject = mail.get("Subject", "")
            at = int(mail["Timestamp"] * 1000)
            self.add(Step("SES", f"accepts: {ORDER_ID.sub('…', subject)}", orders, at, at, detail={"mail": mail["MessageId"]}))
        self.mails = mails


class OrderStream:
    """Reads the orders' table stream from its beginning."""

    def __init__(self, aws: MiniStack) -> None:
        self._aws = aws
        self._client: Any = None
        self._iterators: list[str] = []

    def images(self) -> list[dict[str, Any]]:
        """The new images of the writes since the last call."""
        if self._client is None:
            self._open()
        found = []
        following = []
        read = TypeDeserializer().deserialize
        for iterator in self._iterators:
            answer = self._client.get_records(ShardIterator=iterator)
            following.append(answer.get("NextShardIterator") or iterator)
            for record in answer["Records"]:
                image = record["dynamodb"].get("NewImage", {})
                found.append({name: read(value) for name, value in image.items()})
        self._iterators = following
        return found

    def _open(self) -> None:
        table = self._aws.client("dynamodb").describe_table(TableName=self._table_name())["Table"]
        client = self._aws.client("dynamodbstreams")
        shards = client.describe_stream(StreamArn=table["LatestStreamArn"])["StreamDescription"]["Shards"]
        self._iterators = [
            client.get_shard_iterator(
                StreamArn=table["LatestStreamArn"], ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
            )["ShardIterator"]
            for shard in shards
        ]
        self._client = client

    def _table_name(self) -> str:
        return self._aws.outputs("orderflow")["OrdersTableName"]


class Tail:
    """Reads a growing file line by line; starts again when the file was replaced."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._rest = b""

    def lines(self) -> list[str]:
        """The whole lines since the last call."""
        if not self._path.exists():
            return []
        if self._path.stat().st_size < self._offset:
            self._offset, self._rest = 0, b""
        with self._path.open("rb") as file:
            file.seek(self._offset)
            new = file.read()
        self._offset += len(new)
        *whole, self._rest = (self._rest + new).split(b"\n")
        return [line.decode(errors="replace") for line in whole]


def read_line(line: str) -> LogLine | None:
    """A JSON line about an order; None for any other line."""
    start = line.find("{")
    if start < 0 or "ord_" not in line:
        return None
    try:
        fields = json.loads(line[start:])
        at = datetime.fromisoformat(fields["timestamp"])
    except (ValueError, KeyError, TypeError):
        return None
    found = ORDER_ID.search(json.dumps(fields))
    if not found:
        return None
    service = str(fields.get("target", "")).partition("::")[0]
    return LogLine(int(at.timestamp() * 1000), service, found[0], fields)


def timed(images: Iterable[dict[str, Any]], at: int) -> list[tuple[int, dict[str, Any]]]:
    """Each write with its time: an event's own, or for another write at the latest the next event's."""
    found = []
    for image in reversed(list(images)):
        event = (image.get("event") or {}).get("type")
        if event:
            at = min(at, int(image["events"][event]["at"]))
        found.append((at, image))
    return found[::-1]


def flat(value: object, path: str = "") -> dict[str, Any]:
    """The leaves of an item by their paths."""
    if isinstance(value, Mapping):
        return {
            leaf: inner for name, each in value.items() for leaf, inner in flat(each, f"{path}.{name}" if path else name).items()
        }
    return {path: value}


# Whose data they are; never shown as a change.
PERSONAL = ("contact", "traceparent", "requestHash", "first", "cancelReason")


def written(before: Mapping[str, Any], after: Mapping[str, Any], at: int) -> list[Step]:
    """The steps that one write of an order's item shows."""
    orders = frozenset([str(after["orderId"])])
    old, new = flat(before), flat(after)
    changes = {
        name: [old.get(name), new.get(name)]
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
        and name.partition(".")[0] not in PERSONAL
        and not name.startswith(("shipment.", "parcel."))
        and not (name.startswith("refunds.") and name.endswith(".reason"))
    }
    payment, earlier = after.get("payment") or {}, before.get("payment") or {}
    event = (after.get("event") or {}).get("type")
    if event:
        title = f"{event}: {after['status']}, version {after['version']}"
    elif payment.get("state") == "processing" and payment.get("fence") != earlier.get("fence"):
        title = f"claims the payment, fence {payment.get('fence')}"
    elif payment.get("reference") != earlier.get("reference"):
        title = "stores the charge's reference"
    elif payment.get("state") != earlier.get("state"):
        title = f"payment {payment.get('state')}"
    elif "dueStep" in before and "dueStep" not in after:
        title = "nothing is due any more"
    elif before.get("dueAt") != after.get("dueAt"):
        title = f"{str(after.get('dueStep', '')).partition('#')[0]} due later"
    else:
        title = "changed"
    steps = [Step("table", title, orders, at, at, detail={"changes": changes})]
    if payment.get("reference") and payment.get("reference") != earlier.get("reference"):
        steps.append(Step("partner", "charge opened", orders, at, at, detail={"reference": payment["reference"]}))
    if payment.get("state") != earlier.get("state") and payment.get("state") in PARTNER_STATES:
        word, outcome = PARTNER_STATES[payment["state"]]
        steps.append(Step("partner", word, orders, at, at, outcome, detail={"attempt": payment.get("attempt")}))
    for name, refund in (after.get("refunds") or {}).items():
        known = (before.get("refunds") or {}).get(name) or {}
        # The state of one that cancels its order is the payment's, above.
        if refund["state"] not in (known.get("state"), "requested") and not refund.get("closes"):
            outcome = REFUND_OUTCOMES[refund["state"]]
            title = f"refund of {refund['amount']}: {refund['state']}"
            steps.append(Step("partner", title, orders, at, at, outcome, detail={"refundId": name}))
    if after.get("shipment") and not before.get("shipment"):
        steps.append(Step("carrier", f"label: {after['shipment']['trackingNumber']}", orders, at, at))
    elif after.get("parcel") and not before.get("parcel"):
        steps.append(Step("carrier", "parcel registered", orders, at, at))
    return steps


REFUND_OUTCOMES = {"pending": "running", "refunded": "ok", "failed": "failed"}
# What the partner answered, by the state that was recorded.
PARTNER_STATES = {
    "captured": ("captured", "ok"),
    "declined": ("declined", "refused"),
    "pending": ("pending", "running"),
    "action_required": ("the customer must act", "refused"),
    "unknown": ("answer lost or unavailable", "failed"),
    "refunded": ("refunded", "ok"),
    "refund_failed": ("refund failed", "failed"),
}
