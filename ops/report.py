"""Formats a survey as text for people or JSON for programs, with IDs, states, times, and counts only."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime

from work import DeadLetter, DeadLetterQueue, Due, Mail, Order, Queue, Redrive, Survey

# More would scroll the most urgent rows away; JSON has them all.
SHOWN = 50


def moment(millis: int) -> str:
    """A time in the API's format."""
    return datetime.fromtimestamp(millis / 1000, UTC).isoformat(timespec="seconds")


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines with aligned columns, at most `SHOWN` rows; empty without rows."""
    if not rows:
        return []
    shown = rows[:SHOWN]
    widths = [max(map(len, column)) for column in zip(heads, *shown, strict=True)]
    lines = [
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in (heads, *shown)
    ]
    return [*lines, f"  and {len(rows) - SHOWN} more; FORMAT=json lists them"] if len(rows) > SHOWN else lines


def text(survey: Survey) -> str:
    """The survey as text."""
    head = f"{survey.where}, {moment(survey.now)}"
    return "\n".join([head, "", *_orders(survey), *_mails(survey), *_queues(survey), *_dead(survey), _end(survey)])


def _orders(survey: Survey) -> list[str]:
    listed = survey.listed
    rows = [
        (
            order.id,
            order.status,
            _step(order, order.due),
            str(order.due.tries),
            moment(order.due.at),
            _payment(order),
            ", ".join(why),
        )
        for order, why in listed
        if order.due
    ]
    more = "" if survey.complete else " (more exist, not read)"
    return [
        f"Orders: {len(listed)} listed, {len(survey.orders) - len(listed)} in progress{more}",
        *table(("order", "status", "waits for", "tries", "next check", "payment", "why"), rows),
        "",
    ]


def _step(order: Order, due: Due) -> str:
    return f"{due.step} ({order.refusal})" if due.step == "shipping" and order.refusal else due.step


def _payment(order: Order) -> str:
    if order.payment == "action_required" and order.wait:
        return f"{order.payment} ({order.wait})"
    return order.payment or "-"


def _mails(survey: Survey) -> list[str]:
    mails = survey.parked_mails
    if survey.mail_days is None:
        seen = "promised, or of waiting orders; MAILS=days reads the whole ledger"
    else:
        seen = f"in the last {survey.mail_days} days"
    rows = [(mail.id, mail.state, str(mail.tries), moment(mail.since)) for mail in mails]
    return [f"Mails: {len(mails)} parked ({seen})", *table(("mail", "state", "tries", "since"), rows), ""]


def _queues(survey: Survey) -> list[str]:
    unknown = {queue.age.unknown: None for queue in survey.queues if queue.age and queue.age.unknown}
    return [
        f"Queues: {', '.join(_waiting(queue) for queue in survey.queues)}",
        *(f"  age unknown: {why}" for why in unknown),
        "",
    ]


def _waiting(queue: Queue) -> str:
    if not queue.age:
        return f"{queue.queue} {queue.count}"
    age = "age unknown" if queue.age.seconds is None else f"oldest {duration(queue.age.seconds)}"
    return f"{queue.queue} {queue.count} ({age})"


def duration(seconds: int) -> str:
    """A duration, rounded down: seconds, minutes, hours with minutes, or days with hours."""
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if minutes < 1:
        return f"{seconds} s"
    if hours < 1:
        return f"{minutes} min"
    return f"{hours} h {minutes % 60} min" if days < 1 else f"{days} d {hours % 24} h"


def _dead(survey: Survey) -> list[str]:
    rows = [letter_row(queue.queue, letter, redrive) for queue in survey.dead for letter, redrive in queue.letters]
    counts = ", ".join(_count(queue) for queue in survey.dead)
    return [
        f"Dead letters: {counts}",
        *table(LETTER_HEADS, rows),
        "",
        f"Relay failures: {survey.relay_failures}",
        "",
    ]


LETTER_HEADS = ("queue/message", "event", "type", "order", "sent", "a redrive does")


def letter_row(queue: str, letter: DeadLetter, redrive: Redrive) -> tuple[str, ...]:
    """A dead letter as a row; its first cell is what `DROP` takes."""
    name = f"{queue}/{letter.message}"
    return name, letter.event or "-", letter.kind or "-", letter.order or "-", moment(letter.sent), redrive


def letter_json(letter: DeadLetter, redrive: Redrive) -> dict[str, object]:
    """A dead letter for programs."""
    return {
        "messageId": letter.message,
        "eventId": letter.event,
        "type": letter.kind,
        "orderId": letter.order,
        "sentAt": moment(letter.sent),
        "redrive": redrive,
    }


def _count(queue: DeadLetterQueue) -> str:
    """Some are not read if there are too many or another reader hides them."""
    read = len(queue.letters)
    return f"{queue.queue} {queue.count}" + (f" ({read} of them read)" if read < queue.count else "")


def _end(survey: Survey) -> str:
    return f"Needs attention: {', '.join(survey.troubles)}." if survey.troubles else "Nothing needs attention."


def mail_json(mail: Mail) -> dict[str, object]:
    """A parked mail for programs."""
    return {
        "emailId": mail.id,
        "state": mail.state,
        "tries": mail.tries,
        "since": moment(mail.since),
        "needsAttention": mail.needs_attention,
        "isOwn": mail.is_own,
    }


def as_json(survey: Survey) -> str:
    """The survey as JSON: every order, mail, and letter that was read and is listed."""
    listed = survey.listed
    return json.dumps(
        {
            "where": survey.where,
            "at": moment(survey.now),
            "needsAttention": bool(survey.troubles),
            "orders": [
                {
                    "orderId": order.id,
                    "status": order.status,
                    "due": order.due and {"step": order.due.step, "at": moment(order.due.at), "tries": order.due.tries},
                    "payment": order.payment and {"state": order.payment, "reference": order.reference, "reason": order.wait},
                    "shippingRefusal": order.refusal and {"code": order.refusal},
                    "reasons": reasons,
                    "needsAttention": any(reason.needs_attention for reason in reasons),
                }
                for order, reasons in listed
            ],
            "ordersOnTheirWay": len(survey.orders) - len(listed),
            "ordersComplete": survey.complete,
            "mails": [mail_json(mail) for mail in survey.parked_mails],
            "mailDays": survey.mail_days,
            "queues": [
                {
                    "queue": queue.queue,
                    "count": queue.count,
                    "oldestSeconds": queue.age and queue.age.seconds,
                    "ageUnknown": queue.age and queue.age.unknown,
                }
                for queue in survey.queues
            ],
            "deadLetters": [
                {
                    "queue": queue.queue,
                    "count": queue.count,
                    "messages": [letter_json(letter, redrive) for letter, redrive in queue.letters],
                }
                for queue in survey.dead
            ],
            "relayFailures": survey.relay_failures,
        },
        indent=2,
    )
