"""What needs an eye: the judgement alone, without any call."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

# As the functions have them; tests/ops compares. Times are in milliseconds, as in the tables.
STEPS = ("billing", "payment", "shipping", "email")
SHARDS = 4
OVERDUE_TRIES = 3
CLAIM_STALE_AFTER = 7 * 60_000

# The queues by their services, with what the outputs of the stack call them.
QUEUES = {"billing": "Billing", "payment": "Payment", "shipment": "Shipping", "email": "Email"}

# The sweep runs every minute. A mark that stays past its time much longer tells that it does not get there.
SWEPT_WITHIN = 5 * 60_000

EVENTS = (
    "CartUpdated",
    "InvoiceCreated",
    "PaymentProcessed",
    "OrderShipped",
    "RefundRequested",
    "PaymentRefunded",
    "OrderCancelled",
)
MAILED_EVENTS = tuple(event for event in EVENTS if event not in ("CartUpdated", "RefundRequested"))
FINAL_MAIL_STATES = ("sent", "unconfirmed", "rejected", "suppressed", "bounced", "complained")
# What SES told of a mail, or of its address, after a mail was taken: shown, and nothing here can mend it.
TOLD_MAIL_STATES = ("suppressed", "bounced", "complained")

# What partners report by webhook: only they can say which order it is about.
REPORTS = ("DisputeReported", "DeliveryReported")

ORDER_ID = re.compile(r"ord_[0-7][0-9A-HJKMNP-TV-Z]{25}")
# A mail to another address than the order's: the order, the event and a hash of the address.
OTHER_MAIL_ID = re.compile(rf"{ORDER_ID.pattern}/(?:{'|'.join(MAILED_EVENTS)})/[0-9a-f]{{64}}")
EVENT_ID = re.compile(
    rf"{ORDER_ID.pattern}/[0-9]{{1,20}}|{OTHER_MAIL_ID.pattern}|request/[0-9A-Za-z_-]{{1,64}}"
    r"|webhook/[a-z]{1,16}/[0-9A-Za-z_.-]{1,255}"
)


class Reason(StrEnum):
    """Why an order is listed, gravest first."""

    OVERDUE = "overdue"
    UNSWEPT = "unswept"
    PAYMENT_UNKNOWN = "payment_unknown"
    PAYMENT_PENDING = "payment_pending"
    PAYMENT_ACTION_REQUIRED = "payment_action_required"
    DUE = "due"

    @property
    def needs_attention(self) -> bool:
        """Whether somebody here should act. The others wait for the customer, the partner or the next sweep."""
        return self in (Reason.OVERDUE, Reason.UNSWEPT, Reason.PAYMENT_UNKNOWN)


PARKED_PAYMENTS = {
    "unknown": Reason.PAYMENT_UNKNOWN,
    "pending": Reason.PAYMENT_PENDING,
    "action_required": Reason.PAYMENT_ACTION_REQUIRED,
}


@dataclass(frozen=True)
class Due:
    """What an order waits for, when the sweep looks at it and how often it has."""

    step: str
    at: int
    tries: int


@dataclass(frozen=True)
class Order:
    """As much of an order as may be shown."""

    id: str
    status: str
    due: Due | None = None
    payment: str | None = None
    reference: str | None = None

    def reasons(self, now: int) -> list[Reason]:
        """Why it is worth a look; empty for an order that is finished or on its way."""
        if not self.due:
            return []
        found = set()
        # As the sweep counts: a payment that waits for its customer has nothing that anybody here could mend.
        waits_for_customer = self.due.step == "payment" and self.payment in ("action_required", "declined")
        if self.due.tries >= OVERDUE_TRIES and not waits_for_customer:
            found.add(Reason.OVERDUE)
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
    # How often the sweep has published a promised mail that has not ended.
    tries: int = 0

    def is_parked(self, now: int) -> bool:
        """Whether nothing sends it any more, whoever was about to died over it, or publishing it again does not help."""
        if self.state == "sending" and self.since <= now - CLAIM_STALE_AFTER:
            return True
        return self.state in ("unconfirmed", "rejected", "failed", *TOLD_MAIL_STATES) or self.tries >= OVERDUE_TRIES

    @property
    def needs_attention(self) -> bool:
        """An address that is refused, or takes no mails, cannot be mended here; it is only shown."""
        return self.state not in ("rejected", *TOLD_MAIL_STATES)


class Redrive(StrEnum):
    """What bringing a dead letter back would do."""

    # The step that it asks for is done, or will never be done by a message.
    NOTHING = "nothing"
    # The step is still missing.
    TRY_AGAIN = "try_again"
    # No such order: it would come back as a dead letter.
    UNKNOWN_ORDER = "unknown_order"
    # Not one of our messages: it would come back too.
    UNREADABLE = "unreadable"


@dataclass(frozen=True)
class DeadLetter:
    """What a dead letter is about. Fields that are not as our messages have them are left out: they may hold anything."""

    message: str
    sent: int
    event: str | None = None
    kind: str | None = None
    order: str | None = None

    @property
    def mail(self) -> str | None:
        """The key of the ledger row of the mail that it asks for."""
        if self.event and OTHER_MAIL_ID.fullmatch(self.event):
            return self.event
        return f"{self.order}/{self.kind}" if self.order else self.event

    def redrive(self, queue: str, orders: Mapping[str, Order], mails: Mapping[str, Mail]) -> Redrive:
        """What becomes of it if it is put back into its queue, as things stand."""
        if not self.event or not self.kind:
            return Redrive.UNREADABLE
        if queue == "email":
            mail = mails.get(self.mail or "")
            return Redrive.NOTHING if mail and mail.state in FINAL_MAIL_STATES else Redrive.TRY_AGAIN
        # The partner is asked again how it stands.
        if self.kind in REPORTS:
            return Redrive.TRY_AGAIN
        order = orders.get(self.order or "")
        if not order:
            return Redrive.UNKNOWN_ORDER
        # The partner is asked again how a refund stands, also long after it was done.
        if self.kind == "RefundRequested" and order.payment in ("refunded", "refund_failed"):
            return Redrive.TRY_AGAIN
        done = {
            "billing": order.status != "pending",
            # Only an explicit request tries again after a decline.
            "payment": order.status in ("paid", "shipped", "cancelled") or order.payment == "declined",
            "shipment": order.status in ("shipped", "refunding", "cancelled"),
        }
        return Redrive.NOTHING if done[queue] else Redrive.TRY_AGAIN


def read_dead_letter(message: str, sent: int, body: str) -> DeadLetter:
    """Takes from a body the ids and the type, each only if it looks as we write it, and nothing else."""
    try:
        event = json.loads(body)
    except ValueError:
        event = None
    fields = event if isinstance(event, dict) else {}
    kind = fields.get("type")
    return DeadLetter(
        message,
        sent,
        _matching(EVENT_ID, fields.get("id")),
        kind if kind in EVENTS + REPORTS else None,
        _matching(ORDER_ID, fields.get("subject")),
    )


def _matching(pattern: re.Pattern[str], value: object) -> str | None:
    return value if isinstance(value, str) and pattern.fullmatch(value) else None


def read_order(item: Mapping[str, Any]) -> Order:
    """An order from its item, or from a projection of it."""
    payment = item.get("payment", {})
    due = None
    if "dueStep" in item:
        due = Due(item["dueStep"].partition("#")[0], int(item["dueAt"]), int(item.get("dueTries", 0)))
    return Order(item["orderId"], item["status"], due, payment.get("state"), payment.get("reference"))


def read_mail(item: Mapping[str, Any]) -> Mail:
    """A mail from its row."""
    # One that was promised and never tried has been neither settled nor claimed.
    since = next(item[at] for at in ("feedbackAt", "settledAt", "claimedAt", "keptAt") if at in item)
    state = item["state"]
    # As in the functions: what SES told counts once the sending has ended.
    if state in ("sent", "unconfirmed"):
        state = item.get("feedback", state)
    return Mail(item["emailId"], state, int(since), int(item.get("dueTries", 0)))


@dataclass(frozen=True)
class DeadLetterQueue:
    """One dead-letter queue: how many messages it holds, and those that were looked at."""

    queue: str
    count: int
    letters: tuple[tuple[DeadLetter, Redrive], ...] = ()


@dataclass(frozen=True)
class Survey:
    """All that needs an eye in one stack, at one time."""

    where: str
    now: int
    orders: tuple[Order, ...] = ()
    # Whether every order that waits for something was read.
    complete: bool = True
    mails: tuple[Mail, ...] = ()
    # How many days of the whole ledger were read; None: only the mails of orders that wait for something.
    mail_days: int | None = None
    dead: tuple[DeadLetterQueue, ...] = ()
    relay_failures: int = 0

    @property
    def listed(self) -> list[tuple[Order, list[Reason]]]:
        """The orders that are worth a look, gravest first, then by their time."""
        found = [(order, reasons) for order in self.orders if (reasons := order.reasons(self.now))]
        rank = list(Reason).index
        return sorted(found, key=lambda each: (rank(each[1][0]), each[0].due.at if each[0].due else 0, each[0].id))

    @property
    def parked_mails(self) -> list[Mail]:
        """The mails that are worth a look, oldest first."""
        return sorted((mail for mail in self.mails if mail.is_parked(self.now)), key=lambda mail: (mail.since, mail.id))

    @property
    def troubles(self) -> list[str]:
        """What somebody should act on, each kind with its count; empty where there is nothing."""
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
