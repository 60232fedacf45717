"""Decides what needs attention, without calling AWS."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

# The same values as in the functions; tests/ops compares them. Times are in milliseconds, as in the tables.
STEPS = ("billing", "payment", "shipping", "email")
SHARDS = 4
OVERDUE_TRIES = 3
CLAIM_STALE_AFTER = 7 * 60_000

# The queues, and what the stack's outputs call them.
QUEUES = {"billing": "Billing", "payment": "Payment", "shipment": "Shipping", "email": "Email", "feedback": "EmailFeedback"}

# The sweep runs every minute. A due mark older than this shows that the sweep does not reach it.
SWEPT_WITHIN = 5 * 60_000

EVENTS = (
    "CartUpdated",
    "InvoiceCreated",
    "PaymentProcessed",
    "OrderShipped",
    "ParcelOutForDelivery",
    "ParcelAvailableForPickup",
    "ParcelDelivered",
    "ParcelReturned",
    "RefundRequested",
    "PaymentRefunded",
    "OrderCancelled",
)
MAILED_EVENTS = tuple(event for event in EVENTS if event not in ("CartUpdated", "RefundRequested"))
FINAL_MAIL_STATES = ("sent", "unconfirmed", "rejected", "suppressed", "bounced", "complained")
# SES reported these after accepting a mail. They are shown, but no action here can correct them.
TOLD_MAIL_STATES = ("suppressed", "bounced", "complained")

# The outcome of such a refund is not known.
OPEN_REFUNDS = ("requested", "pending")

# Partners report these by webhook; the functions then ask the partner.
REPORTS = ("ChargeReported", "DisputeReported", "DeliveryReported")

# SES reports these about a mail that it has accepted, in events of its own format.
FEEDBACK = ("Bounce", "Complaint")

ORDER_ID = re.compile(r"ord_[0-7][0-9A-HJKMNP-TV-Z]{25}")
# A refund that this service made. A partner names its own in another way.
REFUND_ID = re.compile(r"rfd_[0-7][0-9A-HJKMNP-TV-Z]{25}")
# What a mail is about: an event, or one of several refunds.
TOPIC = rf"(?:{'|'.join(MAILED_EVENTS)}|PaymentRefunded/{REFUND_ID.pattern})"
# The mail about a topic to the order's own address.
OWN_MAIL_ID = re.compile(rf"(?P<order>{ORDER_ID.pattern})/{TOPIC}")
# A time in a message, in milliseconds.
MILLIS = re.compile(r"-?[0-9]{1,18}")
# A mail to another address than the order's: the order, the topic, and a hash of the address.
OTHER_MAIL_ID = re.compile(rf"{ORDER_ID.pattern}/{TOPIC}/[0-9a-f]{{64}}")
# Any mail: also one about no order.
MAIL_ID = re.compile(rf"{OWN_MAIL_ID.pattern}|{OTHER_MAIL_ID.pattern}|request/[0-9A-Za-z_-]{{1,64}}")
EVENT_ID = re.compile(
    rf"{ORDER_ID.pattern}/[0-9]{{1,20}}|{ORDER_ID.pattern}/{TOPIC}(?:/[0-9a-f]{{64}})?|request/[0-9A-Za-z_-]{{1,64}}"
    r"|webhook/[a-z]{1,16}/[0-9A-Za-z_.-]{1,255}"
)


class Reason(StrEnum):
    """Why an order is listed, most urgent first."""

    OVERDUE = "overdue"
    UNSWEPT = "unswept"
    PAYMENT_UNKNOWN = "payment_unknown"
    RETRIED = "retried"
    PAYMENT_PENDING = "payment_pending"
    PAYMENT_ACTION_REQUIRED = "payment_action_required"
    DUE = "due"

    @property
    def needs_attention(self) -> bool:
        """Whether an operator should act. The others wait for the customer, the partner, or the next sweep."""
        return self in (Reason.OVERDUE, Reason.UNSWEPT, Reason.PAYMENT_UNKNOWN, Reason.RETRIED)


PARKED_PAYMENTS = {
    "unknown": Reason.PAYMENT_UNKNOWN,
    "pending": Reason.PAYMENT_PENDING,
    "action_required": Reason.PAYMENT_ACTION_REQUIRED,
}


@dataclass(frozen=True)
class Due:
    """The step an order waits for, the time of the sweep's next check, and the number of checks."""

    step: str
    at: int
    tries: int


def partition(step: str, order: str) -> str:
    """The partition of the index `due` that an order belongs to."""
    return f"{step}#{ord(order[-1]) % SHARDS}"


@dataclass(frozen=True)
class Order:
    """The attributes of an order that may be shown."""

    id: str
    status: str
    due: Due | None = None
    payment: str | None = None
    reference: str | None = None
    # What its customer must do, while the payment waits for that.
    wait: str | None = None
    # Whether the outcome of a refund of a part is not known.
    has_open_refunds: bool = False
    # The code with which the carrier refused its parcel.
    refusal: str | None = None
    # The refunds that this service made.
    refunds: tuple[str, ...] = ()

    @property
    def mail_ids(self) -> set[str]:
        """The keys of the ledger rows of all mails to its own address that there may be."""
        topics = (*MAILED_EVENTS, *(f"PaymentRefunded/{refund}" for refund in self.refunds))
        return {f"{self.id}/{topic}" for topic in topics}

    def reasons(self, now: int) -> list[Reason]:
        """Why it is listed; empty for an order that is finished or in progress."""
        if not self.due:
            return []
        found = set()
        # As the sweep counts: an operator cannot help with a payment that waits for its customer.
        waits_for_customer = self.due.step == "payment" and self.payment in ("action_required", "declined")
        if self.due.tries >= OVERDUE_TRIES and not waits_for_customer:
            found.add(Reason.OVERDUE)
        elif self.due.tries and not (self.due.step == "payment" and self.payment in ("declined", *PARKED_PAYMENTS)):
            found.add(Reason.RETRIED)
        if self.due.at < now - SWEPT_WITHIN:
            found.add(Reason.UNSWEPT)
        elif self.due.at <= now:
            found.add(Reason.DUE)
        if parked := PARKED_PAYMENTS.get(self.payment or ""):
            found.add(parked)
        return [reason for reason in Reason if reason in found]


@dataclass(frozen=True)
class Mail:
    """A row of the mail ledger."""

    id: str
    state: str
    since: int
    # How often the sweep has published the promised mail.
    tries: int = 0
    # When an operator marked it as seen.
    seen: int | None = None

    @property
    def is_own(self) -> bool:
        """Whether it is an order's mail to the order's own address. Only such a mail can be resent here."""
        return OWN_MAIL_ID.fullmatch(self.id) is not None

    def is_parked(self, now: int) -> bool:
        """Whether it is no longer sent, its sender crashed, or publishing it again has no effect.

        A mail that was marked as seen is not listed until something new happens to it.
        """
        if self.seen is not None and self.since <= self.seen:
            return False
        if self.state == "sending" and self.since <= now - CLAIM_STALE_AFTER:
            return True
        return self.state in ("unconfirmed", "rejected", "failed", *TOLD_MAIL_STATES) or self.tries >= OVERDUE_TRIES

    @property
    def needs_attention(self) -> bool:
        """A rejected or suppressed address cannot be corrected here; it is only shown."""
        return self.state not in ("rejected", *TOLD_MAIL_STATES)


class Redrive(StrEnum):
    """What redriving a dead letter would do."""

    # Its step is done, or no message will do it.
    NOTHING = "nothing"
    # The step is still missing.
    TRY_AGAIN = "try_again"
    # The step before it is missing: the letter would return. That step's own event requests this one.
    TOO_EARLY = "too_early"
    # The order does not exist: the letter would return.
    UNKNOWN_ORDER = "unknown_order"
    # It is not one of this service's messages: it would return.
    UNREADABLE = "unreadable"


@dataclass(frozen=True)
class DeadLetter:
    """The fields of a dead letter. A field in an unexpected format is omitted, because it may contain anything."""

    message: str
    sent: int
    event: str | None = None
    kind: str | None = None
    order: str | None = None
    # Whether it carries the data of a mail.
    has_mail: bool = False

    @property
    def mail(self) -> str | None:
        """The key of the ledger row of the mail that it requests."""
        # The ID of a mail that shares its event with others is the key of its row.
        if self.event and (OTHER_MAIL_ID.fullmatch(self.event) or OWN_MAIL_ID.fullmatch(self.event)):
            return self.event
        return f"{self.order}/{self.kind}" if self.order else self.event

    def redrive(self, queue: str, orders: Mapping[str, Order], mails: Mapping[str, Mail]) -> Redrive:
        """The effect of redriving it now."""
        # SES's feedback can be recorded at any time, and has one queue.
        if queue == "feedback" or self.kind in FEEDBACK:
            return Redrive.TRY_AGAIN if queue == "feedback" and self.kind in FEEDBACK else Redrive.UNREADABLE
        if not self.event or not self.kind:
            return Redrive.UNREADABLE
        if queue == "email":
            if not self.has_mail or self.kind not in MAILED_EVENTS:
                return Redrive.UNREADABLE
            mail = mails.get(self.mail or "")
            return Redrive.NOTHING if mail and mail.state in FINAL_MAIL_STATES else Redrive.TRY_AGAIN
        # The service reads the current state from the partner again.
        if self.kind in REPORTS:
            return Redrive.TRY_AGAIN
        order = orders.get(self.order or "")
        if not order:
            return Redrive.UNKNOWN_ORDER
        # The service reads the refund's state from the partner again, even long after its completion.
        if self.kind == "RefundRequested" and order.payment in ("refunded", "refund_failed"):
            return Redrive.TRY_AGAIN
        is_refund = self.kind == "RefundRequested" and (order.status == "refunding" or order.has_open_refunds)
        done = {
            "billing": order.status != "pending",
            # Only an explicit request starts another attempt after a decline.
            "payment": (order.status not in ("pending", "invoiced") and not is_refund) or order.payment == "declined",
            "shipment": order.status in ("shipped", "refunding", "cancelled"),
        }
        early = {"billing": False, "payment": order.status == "pending", "shipment": order.status in ("pending", "invoiced")}
        if early[queue]:
            return Redrive.TOO_EARLY
        return Redrive.NOTHING if done[queue] else Redrive.TRY_AGAIN


def read_dead_letter(message: str, sent: int, body: str) -> DeadLetter:
    """Reads only the IDs and the type from a body, each only in this service's format."""
    try:
        event = json.loads(body)
    except ValueError:
        event = None
    fields = event if isinstance(event, dict) else {}
    if fields.get("eventType") in FEEDBACK:
        return _read_feedback(message, sent, fields)
    kind = fields.get("type")
    if not _is_message(fields):
        return DeadLetter(message, sent)
    return DeadLetter(
        message,
        sent,
        _matching(EVENT_ID, fields.get("id")),
        kind if kind in EVENTS + REPORTS else None,
        _matching(ORDER_ID, fields.get("subject")),
        isinstance(fields.get("data"), dict),
    )


def _read_feedback(message: str, sent: int, fields: Mapping[str, Any]) -> DeadLetter:
    """Reads which mail an event of SES is about. Its tag has the mail's ID, with `-` for `/`; its address is not read."""
    mail = fields.get("mail")
    tags = mail.get("tags") if isinstance(mail, dict) else None
    values = tags.get("emailId") if isinstance(tags, dict) else None
    tag = values[0] if isinstance(values, list) and values else None
    event = _matching(MAIL_ID, tag.replace("-", "/")) if isinstance(tag, str) else None
    return DeadLetter(message, sent, event, fields["eventType"], _matching(ORDER_ID, (event or "").partition("/")[0]))


def _is_message(fields: Mapping[str, Any]) -> bool:
    """Whether the functions can read the envelope (`Message::from_json`): none reads a letter in another format."""
    texts = all(isinstance(fields.get(name), str) for name in ("id", "source", "type", "time"))
    return texts and fields.get("specversion") == "1.0" and _matching(MILLIS, fields.get("timemillis")) is not None


def _matching(pattern: re.Pattern[str], value: object) -> str | None:
    return value if isinstance(value, str) and pattern.fullmatch(value) else None


def read_order(item: Mapping[str, Any]) -> Order:
    """An order from its item, or from a projection of it."""
    payment = item.get("payment", {})
    due = None
    if "dueStep" in item:
        due = Due(item["dueStep"].partition("#")[0], int(item["dueAt"]), int(item.get("dueTries", 0)))
    # The state of a refund that cancels its order is the payment's.
    refunds = item.get("refunds", {})
    parts = (refund for refund in refunds.values() if not refund.get("closes"))
    return Order(
        item["orderId"],
        item["status"],
        due,
        payment.get("state"),
        payment.get("reference"),
        payment.get("waitReason"),
        any(refund["state"] in OPEN_REFUNDS for refund in parts),
        item.get("shippingRefusal", {}).get("code"),
        tuple(name for name in refunds if REFUND_ID.fullmatch(name)),
    )


def read_mail(item: Mapping[str, Any]) -> Mail:
    """A mail from its row."""
    # A promised mail that was never tried is neither settled nor claimed.
    since = next(item[at] for at in ("feedbackAt", "settledAt", "resentAt", "claimedAt", "keptAt") if at in item)
    state = item["state"]
    # As in the functions: SES's feedback counts once the sending has ended.
    if state in ("sent", "unconfirmed"):
        state = item.get("feedback", state)
    seen = int(item["seenAt"]) if "seenAt" in item else None
    return Mail(item["emailId"], state, int(since), int(item.get("dueTries", 0)), seen)


@dataclass(frozen=True)
class Age:
    """The age of a queue's oldest message, in seconds; or, without one, why it is unknown."""

    seconds: int | None
    unknown: str | None = None


@dataclass(frozen=True)
class Queue:
    """A queue: its number of messages, and the age of the oldest. An empty queue has no age."""

    queue: str
    count: int
    age: Age | None = None


@dataclass(frozen=True)
class DeadLetterQueue:
    """A dead-letter queue: its number of messages, and those that were read."""

    queue: str
    count: int
    letters: tuple[tuple[DeadLetter, Redrive], ...] = ()


@dataclass(frozen=True)
class Survey:
    """Everything that needs attention in one stack, at one time."""

    where: str
    now: int
    orders: tuple[Order, ...] = ()
    # Whether every waiting order was read.
    complete: bool = True
    mails: tuple[Mail, ...] = ()
    # How many days of the whole ledger were read; None: only the mails of waiting orders.
    mail_days: int | None = None
    queues: tuple[Queue, ...] = ()
    dead: tuple[DeadLetterQueue, ...] = ()
    relay_failures: int = 0

    @property
    def listed(self) -> list[tuple[Order, list[Reason]]]:
        """The listed orders, most urgent first, then by their time."""
        found = [(order, reasons) for order in self.orders if (reasons := order.reasons(self.now))]
        rank = list(Reason).index
        return sorted(found, key=lambda each: (rank(each[1][0]), each[0].due.at if each[0].due else 0, each[0].id))

    @property
    def parked_mails(self) -> list[Mail]:
        """The listed mails, oldest first."""
        return sorted((mail for mail in self.mails if mail.is_parked(self.now)), key=lambda mail: (mail.since, mail.id))

    @property
    def troubles(self) -> list[str]:
        """What an operator should act on, each kind with its count; empty if there is nothing."""
        counts = {
            "orders": sum(any(reason.needs_attention for reason in reasons) for _, reasons in self.listed),
            "mails": sum(mail.needs_attention for mail in self.parked_mails),
            "dead letters": sum(queue.count for queue in self.dead),
            "relay failures": self.relay_failures,
        }
        unread = [] if self.complete else ["more orders than were read"]
        return [f"{what}: {count}" for what, count in counts.items() if count] + unread


def order_ids(letters: Iterable[DeadLetter]) -> set[str]:
    """The orders that the letters are about."""
    return {letter.order for letter in letters if letter.order}
